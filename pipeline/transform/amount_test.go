package transform

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// read is an amount as text, or its fault, and what it shows of the decimal sign.
func (a amountCell) read() string {
	text := a.fault.String()
	if a.fault == 0 {
		text = a.amount.String()
	}
	return text + [...]string{"", " point", " comma", "", " either"}[a.shows]
}

func parserOf(tb testing.TB, rules Rules) *parser {
	tb.Helper()
	c, err := NewCleaner(Reading{Rules: rules, LogicalDate: logicalDate, Conventions: rules.Resolve(&Learned{}, &Evidence{})})
	require.NoError(tb, err)
	return &c.parser
}

func TestParseAmount(t *testing.T) {
	t.Parallel()
	p := parserOf(t, Rules{})
	for _, c := range []struct {
		cell string
		want string // the amount, or its fault, and the decimal sign that it shows
	}{
		{"0", "0"},
		{"0.0", "0 point"},
		{"-0", "0"},
		{"-0.00", "0 point"},
		{"0,00", "0 comma"},
		{"-3437.55", "-3437.55 point"},
		{"$4990.00", "4990 point"},
		{"  12.5\t", "12.5 point"},
		{"\u00a012\u00a0", "12"},
		{"+5", "5"},
		{"\u22125.10", "-5.1 point"},
		{".5", "0.5 point"},
		{"-.5", "-0.5 point"},
		{".500", "0.5 point"},
		{"007", "7"},
		{"5.", "5 point"},
		{"-5.", "-5 point"},
		{"5,", "5 comma"},
		{"1,234.", "1234 point"},

		// blanks
		{"", "missing_amount"},
		{" \u00a0 ", "missing_amount"},
		{"\u200b", "missing_amount"},
		{"NULL", "missing_amount"},
		{"null", "missing_amount"},
		{`\N`, "missing_amount"},
		{"NaN", "missing_amount"},
		{"nan", "missing_amount"},
		{"NaT", "missing_amount"},
		{"None", "missing_amount"},
		{"N/A", "missing_amount"},
		{"#N/A", "missing_amount"},
		{"'", "missing_amount"},
		{`=""`, "missing_amount"},

		// what is around a value
		{"'-0.02", "-0.02 point"},
		{`="1,234.50"`, "1234.5 point"},
		{"\u200e-12.50\u200f", "-12.5 point"},
		{"\ufeff7", "7"},
		{"'7'", "invalid_amount"},
		{"\u00ad12.50", "invalid_amount"}, // a soft hyphen may be a minus

		// currency marks
		{"$-5", "-5"},
		{"-$5", "-5"},
		{"- $5", "-5"},
		{"$ -5", "-5"},
		{"$+1500", "1500"},
		{"€ 12.50", "12.5 point"},
		{"12.50 €", "12.5 point"},
		{"-9,13\u00a0€", "-9.13 comma"},
		{"£1", "1"},
		{"USD 12", "12"},
		{"USD12", "12"},
		{"USD.50", "0.5 point"},
		{"$.50", "0.5 point"},
		{"12 USD", "12"},
		{"12USD", "12"},
		{"5.USD", "5 point"},
		{"-USD 12", "-12"},
		{"JPY\u00a012", "12"},
		{"usd 12", "12"},
		{"Usd 12", "12"},
		{"12 ves", "12"},
		{"R$ 1500.00", "1500 point"},
		{"-R$12.40", "-12.4 point"},
		{"US$ 12.00", "12 point"},
		{"-US$3.25", "-3.25 point"},
		{"US$12", "12"},
		{"CA$9.99", "9.99 point"},
		{"12 kr", "12"},
		{"12 kr.", "12"},
		{"kr. 12,50", "12.5 comma"},
		{"1 234,50 Kč", "1234.5 comma"},
		{"12,50 zł", "12.5 comma"},
		{"12,50 ZŁ", "12.5 comma"},
		{"Rs. 1,23,456", "123456 point"},
		{"Rs.500", "500"},
		{"Rs.50", "50"}, // the point is the mark's
		{"12 РУБ.", "12"},
		{"12 Руб", "12"},
		{"ГРН 12,50", "12.5 comma"},
		{"12 KČ", "12"},
		{"12 Kc\u030c", "12"},
		{"-KC\u030c 12", "-12"},
		{"＄12", "12"},
		{"12 MRU", "12"},
		{"Rs 500", "500"},
		{"₹500", "500"},
		{"1 000 Ft", "1000"},
		{"12 lei", "12"},
		{"SFr. 1'234.50", "1234.5 point"},
		{"RM12", "12"},
		{"R 12", "12"},
		{"S/. 12", "12"},
		{"¥1,234,567", "1234567 point"},
		{"₿ 2", "2"},
		{"QQQ 12", "invalid_amount"},
		{"XXX 12", "invalid_amount"},
		{"XTS 12", "invalid_amount"},
		{"$12$", "invalid_amount"},
		{"$12 USD", "invalid_amount"},
		{"USDX12", "invalid_amount"},
		{"XUSD12", "invalid_amount"},
		{"12 XUSD", "invalid_amount"},
		{"XY$12", "invalid_amount"},
		{"12 R", "invalid_amount"}, // a refund, perhaps
		{"r 12", "invalid_amount"},
		{"50¢", "invalid_amount"},
		{"$", "invalid_amount"},
		{"USD", "invalid_amount"},
		{"kr.", "invalid_amount"},

		// signs and parentheses
		{"(1,234.50)", "-1234.5 point"},
		{"($5)", "-5"},
		{"$(5)", "-5"},
		{"$(0.01)", "-0.01 point"},
		{"$ (12.00)", "-12 point"},
		{"$-1,234.50", "-1234.5 point"},
		{"(12.00 USD)", "-12 point"},
		{"(5 USD)", "-5"},
		{"(5) USD", "-5"},
		{"( 5 )", "-5"},
		{"- 5", "-5"},
		{"€ - 5,00", "-5 comma"},
		{"5-", "-5"},
		{"5 -", "-5"},
		{"5+", "5"},
		{"50.00-", "-50 point"},
		{"1,200.00-", "-1200 point"},
		{"50,00- €", "-50 comma"},
		{"50,00 €-", "-50 comma"},
		{"50,00\u2212", "-50 comma"},
		{"(-5)", "invalid_amount"},
		{"-(5)", "invalid_amount"},
		{"(5)-", "invalid_amount"},
		{"(5-)", "invalid_amount"},
		{"((5))", "invalid_amount"},
		{"(5", "invalid_amount"},
		{"5)", "invalid_amount"},
		{"()", "invalid_amount"},
		{"--5", "invalid_amount"},
		{"+-5", "invalid_amount"},
		{"-5-", "invalid_amount"},
		{"-$-5", "invalid_amount"},
		{"-", "invalid_amount"},
		{"5,-", "invalid_amount"}, // prices without cents
		{"5.-", "invalid_amount"},
		{"CHF 5.-", "invalid_amount"},
		{"5,- €", "invalid_amount"},
		{"5,-kr", "invalid_amount"},

		// thousands
		{"1,234.50", "1234.5 point"},
		{"1,500.00", "1500 point"},
		{"1,234,567", "1234567 point"},
		{"12,345,678.9", "12345678.9 point"},
		{"1,234.567", "1234.567 point"},
		{"1.234,50", "1234.5 comma"},
		{"1.500,00", "1500 comma"},
		{"1.234.567", "1234567 comma"},
		{"1.234.567,89", "1234567.89 comma"},
		{"1.234,567", "1234.567 comma"},
		{"-€ 1.234.567,89", "-1234567.89 comma"},
		{"1'234", "1234"},
		{"1'234.50", "1234.5 point"},
		{"1’234’567", "1234567"},
		{"1'234’567", "1234567"},
		{"1 234", "1234"},
		{"1\u00a0234.5", "1234.5 point"},
		{"1\u202f234\u202f567", "1234567"},
		{"-14\u202f800,00", "-14800 comma"},
		{"1\u2009234\u2009567", "1234567"},
		{"1 234\u00a0567", "1234567"},
		{"1 234,567", "1234.567 comma"},
		{"1 234.567", "1234.567 point"},
		{"1,23,456", "123456 point"},
		{"1,23,456.00", "123456 point"},
		{"-10,00,000.50", "-1000000.5 point"},
		{"₹ 12,34,567.89", "1234567.89 point"},
		{"12,34,567", "1234567 point"},
		{"1,00,00,000", "10000000 point"},
		{"123,45,678", "invalid_amount"},
		{"1,234,56,789", "invalid_amount"},
		{"1,23,45", "invalid_amount"},
		{"0,123,456", "invalid_amount"},
		{"1234,567.5", "invalid_amount"},
		{"1,2345,678", "invalid_amount"},
		{",123,456", "invalid_amount"},
		{"1,,234", "invalid_amount"},
		{"1,234,", "invalid_amount"},
		{"1,234.5,6", "invalid_amount"},
		{"1,234.567.890", "invalid_amount"},
		{"1.234 567", "invalid_amount"},
		{"1'234 567", "invalid_amount"},
		{"1\t234", "invalid_amount"},
		{"12 34", "invalid_amount"},
		{"12 ,5", "invalid_amount"},

		// a single comma or point
		{"10.50", "10.5 point"},
		{"75,30", "75.3 comma"},
		{"1,23", "1.23 comma"},
		{"1,2345", "1.2345 comma"},
		{"1234.567", "1234.567 point"},
		{"1234,567", "1234.567 comma"},
		{"0.125", "0.125 point"},
		{"0,125", "0.125 comma"},
		{"00.125", "0.125 point"},
		{"012,345", "12.345 comma"},
		{",125", "0.125 comma"},
		{"1,234", "ambiguous_amount either"},
		{"1.234", "ambiguous_amount either"},
		{"1.000", "ambiguous_amount either"},
		{"12.345", "ambiguous_amount either"},
		{"123,456", "ambiguous_amount either"},
		{"-$1,234", "ambiguous_amount either"},
		{"$1.234", "ambiguous_amount either"},
		{"(1,234)", "ambiguous_amount either"},
		{"1.250-", "ambiguous_amount either"},

		// what is no decimal number
		{".", "invalid_amount"},
		{",", "invalid_amount"},
		{".,5", "invalid_amount"},
		{"1e5", "invalid_amount"},
		{"1E5", "invalid_amount"},
		{"1.5E+3", "invalid_amount"},
		{"inf", "invalid_amount"},
		{"-Infinity", "invalid_amount"},
		{"∞", "invalid_amount"},
		{"12 DR", "invalid_amount"},
		{"12 CR", "invalid_amount"},
		{"CR 12", "invalid_amount"},
		{"12 Dr.", "invalid_amount"},
		{"12C", "invalid_amount"},
		{"0x10", "invalid_amount"},
		{"1_000", "invalid_amount"},
		{"12%", "invalid_amount"},
		{"1.2.3", "invalid_amount"},
		{"1.2.2024", "invalid_amount"},
		{"2024-11-07", "invalid_amount"},
		{"12:30", "invalid_amount"},
		{"١٢", "invalid_amount"},
		{"１２", "invalid_amount"},

		// precision, by value
		{"1.2345", "1.2345 point"},
		{"1.23456", "amount_precision point"},
		{"1,23456", "amount_precision comma"},
		{"-0.03881677", "amount_precision point"},
		{"19.990000000000002", "amount_precision point"},
		{"12.3400000000", "12.34 point"},
		{"1.23450000000000000000", "1.2345 point"},
		{"0.0001", "0.0001 point"},
		{"0.00001", "amount_precision point"},
		{"999999999999999", "999999999999999"},
		{"1000000000000000", "amount_precision"},
		{"99999999999.9999", "99999999999.9999 point"},
		{"999999999999.9999", "amount_precision point"},
		{"-99999999999999.9", "-99999999999999.9 point"},
		{"999999999999999.9", "amount_precision point"},
		{"000000000000000000000000000001", "1"},
		{strings.Repeat("0", 5000) + "1." + strings.Repeat("0", 5000), "1 point"},
		{strings.Repeat("9", 5000), "amount_precision"},
		{"92233720368547758080", "amount_precision"},
		{"1,000,000,000,000,000", "amount_precision point"},
	} {
		assert.Equal(t, c.want, p.parseAmount([]byte(c.cell)).read(), "%.60q", c.cell)
	}
}

// What is ambiguous is read by the convention; nothing else depends on it.
func TestParseAmountByConvention(t *testing.T) {
	t.Parallel()
	point, comma := parserOf(t, Rules{Decimal: "point"}), parserOf(t, Rules{Decimal: "comma"})
	for cell, want := range map[string][2]string{
		"1,234":     {"1234 either", "1.234 either"},
		"1.234":     {"1.234 either", "1234 either"},
		"1.250":     {"1.25 either", "1250 either"},
		"1.000":     {"1 either", "1000 either"},
		"-€ 12.500": {"-12.5 either", "-12500 either"},
		"(123,456)": {"-123456 either", "-123.456 either"},
		"10.50":     {"10.5 point", "10.5 point"},
		"75,30":     {"75.3 comma", "75.3 comma"},
		"1.234.567": {"1234567 comma", "1234567 comma"},
		"1,234,567": {"1234567 point", "1234567 point"},
		"1,23456":   {"amount_precision comma", "amount_precision comma"},
		"0.125":     {"0.125 point", "0.125 point"},
	} {
		assert.Equal(t, want[0], point.parseAmount([]byte(cell)).read(), cell)
		assert.Equal(t, want[1], comma.parseAmount([]byte(cell)).read(), cell)
	}
}

func TestAmountMarks(t *testing.T) {
	t.Parallel()
	p := parserOf(t, Rules{})
	for cell, want := range map[string]string{
		"12": "", "-$5": "$", "$5.10": "$", "US$ 12.00": "US$", "12 usd": "usd", "Rs.500": "Rs.", "kr 12": "kr", "(12 €)": "€", "₿2": "₿",
		"12,50 zł": "zł", "R 5": "R", "-R$5": "R$",
	} {
		assert.Equal(t, want, string(p.parseAmount([]byte(cell)).mark), cell)
	}
}
