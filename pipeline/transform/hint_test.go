package transform

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/pipeline/extract"
)

func TestHints(t *testing.T) {
	t.Parallel()
	const short = ": export dates as text, such as 2024-11-07"
	for _, c := range []struct{ row, want string }{
		{"A,1,5,2024-01-02", ""},
		{",,,", ""},
		{"A,0,x,2024-02-30", ""},
		{"A,1,1.23456,pending", ""},

		{"A,1,5,03/04/2024", "slash: 03/04/2024 is 2024-03-04 under slash: mdy and 2024-04-03 under slash: dmy"},
		{"A,1,5,3-4-2024 10:15", "dash: 3-4-2024 10:15 is 2024-03-04 under dash: mdy and 2024-04-03 under dash: dmy"},
		{"A,1,5,1.2.1850", "dot: 1.2.1850 is 1850-01-02 under dot: mdy and 1850-02-01 under dot: dmy"},
		{"A,1,1.250,2024-01-02", "decimal: 1.250 is 1.25 under decimal: point and 1250 under decimal: comma"},
		{"A,1,\"(€ 1,250)\",2024-01-02", "decimal: (€ 1,250) is -1250 under decimal: point and -1.25 under decimal: comma"},
		{"A,1,1.250,3.4.2024", "decimal: 1.250 is 1.25 under decimal: point and 1250 under decimal: comma\n" +
			"dot: 3.4.2024 is 2024-03-04 under dot: mdy and 2024-04-03 under dot: dmy"},

		{"A,1,5,23.11.24", "two_digit_years: the year of 23.11.24 is 2024 under two_digit_years: 1970 and 1924 under two_digit_years: 1900"},
		{"A,1,5,29-Jun-75", "two_digit_years: the year of 29-Jun-75 is 1975 under two_digit_years: 1970 and 2075 under two_digit_years: 2000"},
		{"A,1,5,1/2/69 9:30", "two_digit_years: the year of 1/2/69 9:30 is 2069 under two_digit_years: 1970 and 1969 under two_digit_years: 1900"},
		{"A,1,5,45600", "45600 may be the serial number by which a spreadsheet knows 2024-11-04" + short},
		{"A,1,5,45600.5", "45600.5 may be the serial number by which a spreadsheet knows 2024-11-04" + short},
		{"A,1,5,1730704275", "1730704275 may be the Unix time of 2024-11-04 in UTC" + short},
		{"A,1,5,1730704275.5", "1730704275.5 may be the Unix time of 2024-11-04 in UTC" + short},
		{"A,1,5,1730704275123", "1730704275123 may be the Unix time of 2024-11-04 in UTC" + short},
		{"A,1,5,1730704275123456", "1730704275123456 may be the Unix time of 2024-11-04 in UTC" + short},
		{"A,1,5,1730704275123456789", "1730704275123456789 may be the Unix time of 2024-11-04 in UTC" + short},
		{"A,1,5,20241104073115", "20241104073115 may be 2024-11-04 with a time of day: separate them, such as 20241104T073115, or export only the date"},
		{"A,1,5,202411051030", "202411051030 may be 2024-11-05 with a time of day: separate them, such as 20241105T1030, or export only the date"},
		{"A,1,5,946684800000", "946684800000 may be the Unix time of 2000-01-01 in UTC" + short},
		{"A,1,5,20241104073199", "20241104073199 is a number" + short},
		{"A,1,5,\"45601,5\"", "45601,5 may be the serial number by which a spreadsheet knows 2024-11-05" + short},
		{"A,1,5,-1730764800", "-1730764800 may be the Unix time of 1915-02-27 in UTC" + short},
		{"A,1,5,1.73E+09", "1.73E+09 may be the Unix time of 2024-10-27 in UTC" + short},
		{"A,1,5,0x1p30", ""},
		{"A,1,5,Infinity", ""},
		{"A,1,5,31.02.24", ""}, // impossible under any two_digit_years
		{"A,1,5,5.6.24 25:61", ""},
		{"A,1,5,2024", "2024 is a number" + short},
		{"A,1,5,99999999999999999999999999", "99999999999999999999999999 is a number" + short},
		{"A,1,5,1899-12-31", "from: 1899-12-31 is before 1900-01-01, the first date allowed"},
		{"A,1,5,2026-01-01", "to: 2026-01-01 is after 2025-12-31, by default a year after the logical date"},

		{"A,1,12.00 DR,2024-01-02", "columns.amount.sign: 12.00 DR has a marker of debit or credit: put the markers into a column of their own, and name it, such as columns: {amount: {value: amount, sign: side, negative: [DR]}}"},
		{"A,1,Cr. 12,2024-01-02", "columns.amount.sign: Cr. 12 has a marker of debit or credit: put the markers into a column of their own, and name it, such as columns: {amount: {value: amount, sign: side, negative: [DR]}}"},
		{"A,1,1e5,2024-01-02", "1e5 has an exponent: export amounts with all their digits"},
		{"A,1,-1.5E+03,2024-01-02", "-1.5E+03 has an exponent: export amounts with all their digits"},
		{"A,1,-inf,2024-01-02", "-inf is not a finite number, which no amount can be"},
		{"A,1,∞,2024-01-02", "∞ is not a finite number, which no amount can be"},
		{"A,1,12 EURO,2024-01-02", ""},
		{"A,1,9999999999999,2024-01-02", ""},
		{"A,1,-9999999999999,2024-01-02", ""},
		{"A,1,9999999999999.01,2024-01-02", "max_amount: 9999999999999.01 is outside -9999999999999…9999999999999, the amounts that every output can have"},
		{"A,1,\"-10,000,000,000,000.00 €\",2024-01-02", "max_amount: -10,000,000,000,000.00 € is outside -9999999999999…9999999999999, the amounts that every output can have"},
		{"A,1,12.00 EUR DR,2024-01-02", "columns.amount.sign: 12.00 EUR DR has a marker of debit or credit: put the markers into a column of their own, and name it, such as columns: {amount: {value: amount, sign: side, negative: [DR]}}"},
		{"A,1,1.5E+3 EUR,2024-01-02", "1.5E+3 EUR has an exponent: export amounts with all their digits"},
		{"A,1,USD 1E5,2024-01-02", "USD 1E5 has an exponent: export amounts with all their digits"},
		{"A,1,(inf),2024-01-02", "(inf) is not a finite number, which no amount can be"},
		{"A,1,€∞,2024-01-02", "€∞ is not a finite number, which no amount can be"},
		{"A,1,DR,2024-01-02", ""},
		{"A,1,1E,2024-01-02", ""},
		{"#REF!,1,5,2024-01-02", "#REF! is an error that a spreadsheet has in place of the id: export the ids as text"},
		{"9.91E+15,1,5,2024-01-02", "9.91E+15 is a number that a spreadsheet has rounded: export the ids as text"},

		{"\"A\"x,1,5,2024-01-02", `quote: the quotes in "\"A\"x,1,5,2024-01-02" do not enclose whole fields: if quotes are text in this file, set quote: none`},
		{"\"A\x1b[31m,1,5,2024-01-02", `quote: the quotes in "\"A\x1b[31m,1,5,2024-01-02" do not enclose whole fields: if quotes are text in this file, set quote: none`},
		{"A\xff,1,5,2024-01-02", `encoding: the row is not UTF-8: under encoding: windows-1252 it starts with "Aÿ,1,5,2024-01-02"`},
	} {
		assert.Equal(t, c.want, hints(t, Rules{}, Reading{LogicalDate: logicalDate}, head+c.row+"\n"), c.row)
	}
	for row, want := range map[string]string{
		"A,1,1000,,2024-01-02":      "",
		"A,1,1000.0001,,2024-01-02": "max_amount: 1000.0001 is outside -1000…1000, the amounts that are allowed",
		"A,1,0,1001,2024-01-02":     "max_amount: 1001 is outside -1000…1000, the amounts that are allowed",
		"A,1,1001,0,2024-01-02":     "max_amount: 1001 is outside -1000…1000, the amounts that are allowed",
	} {
		sides := Rules{MaxAmount: 1000, Columns: Columns{Amount: AmountColumns{Debit: "debit", Credit: "credit"}}}
		assert.Equal(t, want, hints(t, sides, Reading{LogicalDate: logicalDate}, "transaction_id,user_id,debit,credit,transaction_date\n"+row+"\n"), row)
	}
	assert.Equal(t, "encoding: the row has bytes that are no characters of shift_jis",
		hints(t, Rules{Dialect: extract.Dialect{Encoding: "shift_jis"}}, Reading{LogicalDate: logicalDate}, head+"A\xff,1,5,2024-05-01\n"))
	assert.Equal(t, "to: 2024-05-01 is after 2024-01-31, the last date allowed",
		hints(t, Rules{To: "2024-01-31"}, Reading{LogicalDate: logicalDate}, head+"A,1,5,2024-05-01\n"))
}

// hints are those of a file's rows, one a line.
func hints(t *testing.T, rules Rules, reading Reading, content string) string {
	t.Helper()
	reading.Rules = rules
	r, err := newReadingReader(strings.NewReader(content), reading)
	require.NoError(t, err)
	var texts []string
	var row Row
	for r.Next(&row) == nil {
		for _, h := range row.Hints {
			assert.True(t, row.Faults.Has(h.Fault))
			texts = append(texts, h.String())
		}
	}
	return strings.Join(texts, "\n")
}

func TestHintsOfColumns(t *testing.T) {
	t.Parallel()
	const head = "transaction_id,user_id,transaction_date,a,b\nA,1,2024-01-02,"
	signs := Rules{Columns: Columns{Amount: AmountColumns{Value: "a", Sign: "b", Negative: []string{"S"}}}, Currency: "EUR"}
	columns := Rules{Columns: Columns{Amount: AmountColumns{Debit: "a", Credit: "b"}}, Currency: "EUR"}
	reading := Reading{LogicalDate: logicalDate, Currencies: Currencies{"EUR"}}
	for _, c := range []struct {
		rules     Rules
		row, want string
	}{
		{signs, "5,X", `columns.amount.negative: the marker "X" is not known: name it in negative or in positive of columns.amount`},
		{signs, "5,", `columns.amount.negative: the marker (blank) is not known: name it in negative or in positive of columns.amount`},
		{signs, "5,\x1b", `columns.amount.negative: the marker "\x1b" is not known: name it in negative or in positive of columns.amount`},
		{signs, "-5,S", `columns.amount.sign: -5 has a minus beside the marker S: without columns.amount.sign the minus counts`},
		{signs, "$5,S", `currency: $5 is marked with $, and the database's currency is EUR`},
		{columns, "5,5", ""},
		{columns, "-5,", "-5 has a minus, and amounts in its column are negative already: export debits and credits without signs"},
		{columns, "0.00,(5)", "(5) has a minus, and amounts in its column are positive already: export debits and credits without signs"},
		{columns, "-,1e5", "1e5 has an exponent: export amounts with all their digits"},
		{columns, "$0,", "currency: $0 is marked with $, and the database's currency is EUR"},
		{columns, "1.250,", "decimal: 1.250 is 1.25 under decimal: point and 1250 under decimal: comma"},
		{columns, ",\"1,250\"", "decimal: 1,250 is 1250 under decimal: point and 1.25 under decimal: comma"},
		{columns, "0.00,12 CR", "columns.amount.sign: 12 CR has a marker of debit or credit: put the markers into a column of their own, and name it, such as columns: {amount: {value: amount, sign: side, negative: [DR]}}"},
		{columns, "0.00,USD 12", "currency: USD 12 is marked with USD, and the database's currency is EUR"},
	} {
		assert.Equal(t, c.want, hints(t, c.rules, reading, head+c.row+"\n"), c.row)
	}
	// Where amounts are loaded, no setting changes their currency.
	columns.Currency = ""
	for mark, want := range map[string]string{"$": "that are marked with $", "Rs.": "that are marked with Rs", "EUR": "in EUR"} {
		reading.Currencies = CurrenciesOf(mark)
		assert.Equal(t, "5 zł is marked with zł, and amounts are loaded "+want, hints(t, columns, reading, head+"5 zł,\n"))
	}
	reading.Currencies = Currencies{"CAD", "USD"}
	assert.Equal(t, "€5 is marked with €, and amounts are loaded in CAD or USD", hints(t, columns, reading, head+",€5\n"))
}

// A file's hints are one for each fault and setting, with its first row.
func TestHintsOfFile(t *testing.T) {
	t.Parallel()
	r, err := newRowReader(strings.NewReader(head+"A,1,5,1/2/2024\nB,1,1.250,3/4/2024\nC,1,5,45600\nD,1,5,5/6/2024\n"), Rules{})
	require.NoError(t, err)
	_, err = readAll(r)
	require.NoError(t, err)
	assert.Equal(t, []string{
		"slash: 3 rows with ambiguous_date, first line 2: 1/2/2024 is 2024-01-02 under slash: mdy and 2024-02-01 under slash: dmy",
		"decimal: 1 row with ambiguous_amount, first line 3: 1.250 is 1.25 under decimal: point and 1250 under decimal: comma",
		"1 row with invalid_date, first line 4: 45600 may be the serial number by which a spreadsheet knows 2024-11-04: export dates as text, such as 2024-11-07",
	}, r.Findings().Hints())
	assert.Equal(t, []string{}, (&Findings{}).Hints())
}
