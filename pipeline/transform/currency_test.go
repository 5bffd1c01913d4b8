package transform

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/text/unicode/norm"
)

func TestCurrenciesOf(t *testing.T) {
	t.Parallel()
	for mark, want := range map[string]string{
		"USD": "USD", "usd": "USD", "Usd": "USD", "US$": "USD", "us$": "USD", "R$": "BRL", "CA$": "CAD", "A$": "AUD", "AU$": "AUD", "NZ$": "NZD",
		"S$": "SGD", "HK$": "HKD", "NT$": "TWD", "MX$": "MXN", "C$": "CAD NIO", "€": "EUR", "₹": "INR", "₽": "RUB", "₺": "TRY", "TL": "TRY",
		"zł": "PLN", "ZŁ": "PLN", "Kč": "CZK", "Ft": "HUF", "lei": "MDL RON", "₩": "KPW KRW", "₪": "ILS", "฿": "THB", "₫": "VND", "₱": "PHP", "₦": "NGN",
		"₴": "UAH", "Fr.": "CHF", "CHF": "CHF", "RM": "MYR", "Rp": "IDR", "R": "ZAR", "kr": "DKK ISK NOK SEK", "kr.": "DKK ISK NOK SEK",
		"Rs.": "INR LKR MUR NPR PKR SCR", "Rs": "INR LKR MUR NPR PKR SCR", "¥": "CNY JPY", "￥": "CNY JPY", "₿": "₿", "VES": "VES",
		"РУБ.": "RUB", "KČ": "CZK", "￦": "KPW KRW", "￡": "EGP FKP GBP GIP LBP SDG SHP SSP SYP", "Bs": "BOB VES", "xcg": "XCG",
	} {
		assert.Equal(t, Currencies(strings.Fields(want)), CurrenciesOf(mark), mark)
	}
	dollars := CurrenciesOf("$")
	assert.True(t, slices.IsSorted(dollars))
	for _, mark := range []string{"US$", "CA$", "A$", "NZ$", "S$", "HK$", "NT$", "MX$"} {
		assert.NotEmpty(t, dollars.with(CurrenciesOf(mark)), mark)
	}
	assert.Empty(t, dollars.with(CurrenciesOf("R$")), "the real is no dollar")
}

// The text of the symbols is sorted by code, and has nothing twice.
func TestSymbols(t *testing.T) {
	t.Parallel()
	codes := []string{}
	for line := range strings.Lines(symbolText) {
		fields := strings.Fields(line)
		codes = append(codes, fields[0])
		assert.True(t, isCode(fields[0]), line)
		assert.Equal(t, norm.NFC.String(line), line)
		for _, mark := range fields[1:] {
			assert.Contains(t, CurrenciesOf(mark), fields[0])
			assert.LessOrEqual(t, len(mark), maxMark)
		}
	}
	assert.True(t, slices.IsSorted(codes))
	for mark, codes := range symbols() {
		assert.Len(t, slices.Compact(slices.Clone(codes)), len(codes), mark)
	}
	for _, code := range []string{"RMB", "KSH", "CFA", "xxx", "US$"} {
		assert.False(t, isCode(code), code)
	}
}

func TestNarrow(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		known, marks string
		want         string
	}{
		{"", "", ""},
		{"", "€", "EUR"},
		{"", "US$ $ USD", "USD"},
		{"", "CA$ $ CAD", "CAD"},
		{"", "R$ BRL", "BRL"},
		{"", "kr Rs.", `"kr" (line 1), "Rs." (line 2)`},
		{"", "kr SEK", "SEK"},
		{"", "¥", "CNY JPY"},
		{"", "₿ ₿", "₿"},
		{"", "$ R$", `"$" (line 1), "R$" (line 2)`},
		{"", "USD EUR", `"USD" (line 1), "EUR" (line 2)`},
		{"", "$ CAD USD", `"$" (line 1), "CAD" (line 2), "USD" (line 3)`},
		{"EUR", "", "EUR"},
		{"EUR", "€ eur", "EUR"},
		{"CNY JPY", "円", "JPY"},
		{"EUR", "$", `"$" (line 1)`},
	} {
		marks := map[string]Seen{}
		for i, mark := range strings.Fields(c.marks) {
			marks[mark] = Seen{Cells: 1, Line: int64(i + 1)}
		}
		var known Currencies
		if c.known != "" {
			known = strings.Fields(c.known)
		}
		left, err := known.Narrow(marks)
		if err != nil {
			require.ErrorContains(t, err, CodeMixedCurrencies+": amounts are marked with "+c.want+" (", c.marks)
			continue
		}
		assert.Equal(t, c.want, strings.Join(left, " "), c.marks)
	}
	left, err := Currencies(nil).Narrow(nil)
	require.NoError(t, err)
	assert.Nil(t, left, "any currency stays any")
}

func TestOtherCurrency(t *testing.T) {
	t.Parallel()
	content := head + "A,1,$ 12.40,2024-01-02\nB,1,€ 46.32,2024-01-02\nC,1,EUR 5.00,2024-01-02\nD,1,usd 7.00,2024-01-02\nE,1,8,2024-01-02\nF,1,$9,2024-01-02\nG,x,$9,2024-01-02\n"
	r, err := newReadingReader(strings.NewReader(content), Reading{LogicalDate: logicalDate, Currencies: Currencies{"USD"}})
	require.NoError(t, err)
	rows, err := readAll(r)
	require.NoError(t, err)
	assert.Equal(t, []string{"2 A 1 12.4 2024-01-02", "3 other_currency", "4 other_currency", "5 D 1 7 2024-01-02", "6 E 1 8 2024-01-02", "7 F 1 9 2024-01-02", "8 invalid_user_id"}, rows)
	assert.Equal(t, map[string]Seen{"$": {2, 2, "$ 12.40"}, "usd": {1, 5, "usd 7.00"}}, r.Findings().Marks, "marks of valid rows")

	r, err = newReadingReader(strings.NewReader(content), Reading{LogicalDate: logicalDate, Currencies: Currencies{"EUR"}})
	require.NoError(t, err)
	rows, err = readAll(r)
	require.NoError(t, err)
	assert.Equal(t, []string{"2 other_currency", "3 B 1 46.32 2024-01-02", "4 C 1 5 2024-01-02", "5 other_currency", "6 E 1 8 2024-01-02", "7 other_currency", "8 invalid_user_id other_currency"}, rows)
}
