package transform

import (
	"math/big"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/opentax/tally/internal/money"

	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseAmount(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		cell, decimal string
		want          string // the amount, or its fault
	}{
		{"0.0", "", "0"},
		{"-0", "", "0"},
		{"-0.00", "", "0"},
		{"-3437.55", "", "-3437.55"},
		{"$4990.00", "", "4990"},
		{"  12.5\t", "", "12.5"},
		{"\u00a012\u00a0", "", "12"},
		{"+5", "", "5"},
		{"\u22125.10", "", "-5.1"},
		{".5", "", "0.5"},
		{"-.5", "", "-0.5"},
		{"007", "", "7"},
		{"", "", "missing_amount"},
		{" \u00a0 ", "", "missing_amount"},

		// currency marks
		{"$-5", "", "-5"},
		{"-$5", "", "-5"},
		{"- $5", "", "-5"},
		{"$ -5", "", "-5"},
		{"€ 12.50", "", "12.5"},
		{"12.50 €", "", "12.5"},
		{"£1", "", "1"},
		{"USD 12", "", "12"},
		{"USD12", "", "12"},
		{"12 USD", "", "12"},
		{"12USD", "", "12"},
		{"-USD 12", "", "-12"},
		{"JPY\u00a012", "", "12"},
		{"usd 12", "", "invalid_amount"},
		{"QQQ 12", "", "invalid_amount"},
		{"XXX 12", "", "invalid_amount"},
		{"$12$", "", "invalid_amount"},
		{"$12 USD", "", "invalid_amount"},
		{"USDX12", "", "invalid_amount"},
		{"US$12", "", "invalid_amount"},
		{"$", "", "invalid_amount"},
		{"USD", "", "invalid_amount"},

		// signs and parentheses
		{"(1,234.50)", "", "-1234.5"},
		{"($5)", "", "-5"},
		{"$(5)", "", "-5"},
		{"(5 USD)", "", "-5"},
		{"(5) USD", "", "-5"},
		{"( 5 )", "", "-5"},
		{"(-5)", "", "invalid_amount"},
		{"-(5)", "", "invalid_amount"},
		{"((5))", "", "invalid_amount"},
		{"(5", "", "invalid_amount"},
		{"5)", "", "invalid_amount"},
		{"()", "", "invalid_amount"},
		{"--5", "", "invalid_amount"},
		{"+-5", "", "invalid_amount"},
		{"-$-5", "", "invalid_amount"},
		{"- 5", "", "invalid_amount"},
		{"5-", "", "invalid_amount"},
		{"-", "", "invalid_amount"},

		// thousands
		{"1,234.50", "", "1234.5"},
		{"1,234,567", "", "1234567"},
		{"1,234", "", "ambiguous_amount"},
		{"-$1,234", "", "ambiguous_amount"},
		{"(1,234)", "", "ambiguous_amount"},
		{"1,234", "point", "1234"},
		{"12,345,678.9", "point", "12345678.9"},
		{"1,23", "", "invalid_amount"},
		{"1,2345", "", "invalid_amount"},
		{"1234,567", "", "invalid_amount"},
		{"1234,567.5", "", "invalid_amount"},
		{"0,123", "", "invalid_amount"},
		{"12,34,567", "", "invalid_amount"},
		{",123", "", "invalid_amount"},
		{"1,,234", "", "invalid_amount"},
		{"1,234,", "", "invalid_amount"},
		{"1,234.5,6", "", "invalid_amount"},
		{"1'234.50", "", "1234.5"},
		{"1’234’567", "", "1234567"},
		{"1'234’567", "", "1234567"},
		{"1 234", "", "1234"},
		{"1\u00a0234.5", "", "1234.5"},
		{"1\u202f234\u202f567", "", "1234567"},
		{"1 234,567", "", "invalid_amount"},
		{"1'234 567", "", "invalid_amount"},
		{"1\t234", "", "invalid_amount"},
		{"12 34", "", "invalid_amount"},

		// decimal comma
		{"1.234,50", "comma", "1234.5"},
		{"1234,5", "comma", "1234.5"},
		{"1.234", "comma", "1234"},
		{"1,234", "comma", "1.234"},
		{",5", "comma", "0.5"},
		{"-€ 1.234.567,89", "comma", "-1234567.89"},
		{"1.23", "comma", "invalid_amount"},
		{"0.5", "comma", "invalid_amount"},
		{"1,234.50", "comma", "invalid_amount"},
		{"5,", "comma", "invalid_amount"},
		{"12", "comma", "12"},
		{"1.234,50", "", "invalid_amount"},
		{"1.234", "", "1.234"},
		{"1.234.567", "", "invalid_amount"},

		// what is no decimal number
		{"5.", "", "invalid_amount"},
		{".", "", "invalid_amount"},
		{"1e5", "", "invalid_amount"},
		{"1E5", "", "invalid_amount"},
		{"NaN", "", "invalid_amount"},
		{"nan", "", "invalid_amount"},
		{"inf", "", "invalid_amount"},
		{"-Infinity", "", "invalid_amount"},
		{"∞", "", "invalid_amount"},
		{"0x10", "", "invalid_amount"},
		{"1_000", "", "invalid_amount"},
		{"12%", "", "invalid_amount"},
		{"1.2.3", "", "invalid_amount"},
		{"N/A", "", "invalid_amount"},
		{"null", "", "invalid_amount"},
		{"١٢", "", "invalid_amount"},
		{"1\u200b2", "", "invalid_amount"},

		// precision, by value
		{"1.2345", "", "1.2345"},
		{"1.23456", "", "amount_precision"},
		{"1.23450000000000000000", "", "1.2345"},
		{"0.0001", "", "0.0001"},
		{"0.00001", "", "amount_precision"},
		{"999999999999999", "", "999999999999999"},
		{"1000000000000000", "", "amount_precision"},
		{"99999999999.9999", "", "99999999999.9999"},
		{"999999999999.9999", "", "amount_precision"},
		{"-99999999999999.9", "", "-99999999999999.9"},
		{"999999999999999.9", "", "amount_precision"},
		{"000000000000000000000000000001", "", "1"},
		{strings.Repeat("0", 5000) + "1." + strings.Repeat("0", 5000), "", "1"},
		{strings.Repeat("9", 5000), "", "amount_precision"},
		{"92233720368547758080", "", "amount_precision"},
		{"1,000,000,000,000,000", "", "amount_precision"},
	} {
		a, fault := parseAmount([]byte(c.cell), c.decimal)
		got := fault.String()
		if fault == 0 {
			got = a.String()
		}
		assert.Equal(t, c.want, got, "%.60q %s", c.cell, c.decimal)
	}
}

// TestAmountSurvivesFloat shows that an amount can be had back from the double
// that is stored, digit for digit.
func TestAmountSurvivesFloat(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 40_000 {
		a := normalised(random.Int64N(maxAmount)>>random.IntN(50), random.IntN(maxDecimals+1), random.IntN(2) == 0)
		f := a.Float64()
		exact, ok := new(big.Rat).SetString(a.String())
		require.True(t, ok, a)
		nearest, _ := exact.Float64()
		require.Equal(t, nearest, f, "%s is rounded correctly", a)
		back, err := decimal.NewFromString(strconv.FormatFloat(f, 'g', 15, 64))
		require.NoError(t, err)
		require.Equal(t, a.String(), back.String(), "15 digits of it are the amount")
		again, fault := parseAmount([]byte(a.String()), "")
		require.Equal(t, Fault(0), fault, a)
		require.Equal(t, a, again)
	}
}

func normalised(u int64, scale int, negative bool) money.Amount {
	for scale > 0 && u%10 == 0 {
		u, scale = u/10, scale-1
	}
	if negative {
		u = -u
	}
	return money.Amount{Unscaled: u, Scale: uint8(scale)}
}

// TestPlainAmountAgrees holds the fast path to what the slow path says.
func TestPlainAmountAgrees(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	const letters = "0019.-$,"
	fast := 0
	for range 60_000 {
		cell := make([]byte, random.IntN(12))
		for i := range cell {
			cell[i] = letters[random.IntN(len(letters))]
		}
		a, ok := plainAmount(cell)
		if !ok {
			continue
		}
		fast++
		text, ok := dissectAmount(cell)
		require.True(t, ok, "%q", cell)
		slow, fault := readNumber(text.number, "")
		require.Equal(t, Fault(0), fault, "%q", cell)
		if text.negative {
			slow.Unscaled = -slow.Unscaled
		}
		require.Equal(t, slow, a, "%q", cell)
	}
	require.Greater(t, fast, 2_000)
}

// FuzzAmount holds what is accepted to shopspring/decimal: the same digits make
// the same number, within the bounds.
func FuzzAmount(f *testing.F) {
	for _, s := range []string{"1,234.50", "(5)", "$-5", "1e5", "NaN", "1.23456", "1'234", "−5", "USD 12", "-0", "5.", "1 234,5"} {
		f.Add(s, false)
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, cell string, comma bool) {
		rule, point := "", "."
		if comma {
			rule, point = DecimalComma, ","
		}
		a, fault := parseAmount([]byte(cell), rule)
		if fault != 0 {
			require.Contains(t, []Fault{FaultMissingAmount, FaultInvalidAmount, FaultAmbiguousAmount, FaultAmountPrecision}, fault)
			return
		}
		digits := strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' {
				return r
			}
			if string(r) == point {
				return '.'
			}
			return -1
		}, cell)
		want, err := decimal.NewFromString(digits)
		require.NoError(t, err, "%q", cell)
		if strings.ContainsAny(cell, "-−(") {
			want = want.Neg()
		}
		require.True(t, want.Equal(decimal.New(a.Unscaled, -int32(a.Scale))), "%q is %s, got %s", cell, want, a)
		require.Equal(t, want.String(), a.String())
		require.Less(t, max(a.Unscaled, -a.Unscaled), int64(maxAmount))
		require.True(t, a.Scale == 0 || a.Scale <= maxDecimals && a.Unscaled%10 != 0)
	})
}
