package transform

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/text/unicode/norm"
)

func TestCleanID(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ cell, want string }{
		{"TXN749110", "TXN749110"},
		{" A b\t", "A b"},
		{"7", "7"},
		{"00123", "00123"},
		{"4021", "4021"},
		{"12345678901234567890", "12345678901234567890"},
		{"6f1e4f52-0b7e-4c11-9d1e-0123456789ab", "6f1e4f52-0b7e-4c11-9d1e-0123456789ab"},
		{"1e4f5200-0b7e-4c11-9d1e-0123456789ab", "1e4f5200-0b7e-4c11-9d1e-0123456789ab"},
		{"a", "a"},
		{"-", "-"},

		// characters that are not seen
		{"V-1\u00a0", "V-1"},
		{"V-2\u200b", "V-2"},
		{"V-\u00ad3", "V-3"},
		{"\ufeffM-202", "M-202"},
		{"\ufeff M-202", "M-202"},
		{"\u200e\u202aM\u202c", "M"},
		{"A\u00a0B", "A\u00a0B"}, // seen
		{"\u200b", "missing_transaction_id"},
		{"\u200b \ufeff", "missing_transaction_id"},

		// guards
		{"'00123", "00123"},
		{`="00124"`, "00124"},
		{`=" 00124 "`, "00124"},
		{`=""`, "missing_transaction_id"},
		{"'", "missing_transaction_id"},
		{"'A'", "'A'"}, // quoted, which is not a guard
		{`="A`, `="A`},
		{"=A", "=A"},
		{"O'Neil", "O'Neil"},

		// no value
		{"", "missing_transaction_id"},
		{" \t", "missing_transaction_id"},
		{"NULL", "missing_transaction_id"},
		{"null", "missing_transaction_id"},
		{" Null ", "missing_transaction_id"},
		{`\N`, "missing_transaction_id"},
		{`\n`, "missing_transaction_id"},
		{"nan", "missing_transaction_id"},
		{"NaN", "missing_transaction_id"},
		{"NaT", "missing_transaction_id"},
		{"None", "missing_transaction_id"},
		{"N/A", "missing_transaction_id"},
		{"n/a", "missing_transaction_id"},
		{"#N/A", "missing_transaction_id"},
		{"'NULL", "missing_transaction_id"},
		{"NULL1", "NULL1"},
		{"NA", "NA"},
		{"nano", "nano"},

		// canonical forms
		{"e\u0301", "é"},
		{"Cafe\u0301-1", "Café-1"},
		{"\u212b", "Å"},
		{"ab", "ab"},
		{"AB", "AB"},

		// numbers that a spreadsheet has cut
		{"9.91E+15", "damaged_transaction_id"},
		{"9.91214E+15", "damaged_transaction_id"},
		{"2.19E+26", "damaged_transaction_id"},
		{"9,91E+15", "damaged_transaction_id"},
		{"1E+15", "damaged_transaction_id"},
		{"-1.5e+09", "damaged_transaction_id"},
		{"1e-05", "damaged_transaction_id"},
		{"'9.91E+15", "damaged_transaction_id"},
		{"9.91E15", "9.91E15"},
		{"1E15", "1E15"},
		{"99.1E+15", "99.1E+15"},
		{"9.E+15", "9.E+15"},
		{"E+15", "E+15"},
		{"9.91E+", "9.91E+"},
		{"9.91E+15A", "9.91E+15A"},
		{"9.91E", "9.91E"},

		// errors of a spreadsheet
		{"#VALUE!", "damaged_transaction_id"},
		{" #REF!", "damaged_transaction_id"},
		{"#DIV/0!", "damaged_transaction_id"},
		{"#NAME?", "damaged_transaction_id"},
		{"#NUM!", "damaged_transaction_id"},
		{"#NULL!", "damaged_transaction_id"},
		{"#1!", "#1!"},

		// length and control characters
		{strings.Repeat("ä", 50), strings.Repeat("ä", 50)},
		{strings.Repeat("ä", 51), "transaction_id_too_long"},
		{strings.Repeat("a\u0308", 50), strings.Repeat("ä", 50)},
		{strings.Repeat("\u200b", 60) + "x", "x"},
		{strings.Repeat("a", 51), "transaction_id_too_long"},
		{strings.Repeat("a", 50) + "\t\v", strings.Repeat("a", 50)},
		{"A\tB", "invalid_transaction_id"},
		{"A\x7f", "invalid_transaction_id"},
		{"0\x1f000000", "invalid_transaction_id"},
		{"A\u0085B", "invalid_transaction_id"},
		{"A\x1bABCDEFGH", "invalid_transaction_id"},
		{strings.Repeat("\x01", 51) + "x", "transaction_id_too_long invalid_transaction_id"},
	} {
		id, faults := cleanID([]byte(c.cell))
		got := string(id)
		if faults != 0 {
			got = strings.Join(faults.Strings(), " ")
			assert.Nil(t, id)
		}
		assert.Equal(t, c.want, got, "%.60q", c.cell)
	}
}

func TestParseUserID(t *testing.T) {
	t.Parallel()
	for cell, want := range map[string]string{
		"1": "1", "007": "7", "2147483647": "2147483647", " 5 ": "5", "00000000002147483647": "2147483647",
		"123.0": "123", "123.00": "123", "45.0000": "45", "007.0": "7", "'7": "7", `="7"`: "7", "7\u200b": "7", "\u00a07": "7", "2147483647.0": "2147483647",
		"0": "user_id_out_of_range", "000": "user_id_out_of_range", "-1": "user_id_out_of_range", "-0": "user_id_out_of_range",
		"2147483648": "user_id_out_of_range", "00000000002147483648": "user_id_out_of_range", "9999999999": "user_id_out_of_range",
		"18446744073709551617": "user_id_out_of_range", strings.Repeat("9", 1000): "user_id_out_of_range",
		"0.0": "user_id_out_of_range", "-1.0": "user_id_out_of_range", "2147483648.0": "user_id_out_of_range",
		"": "missing_user_id", "  ": "missing_user_id", "NULL": "missing_user_id", "nan": "missing_user_id", `\N`: "missing_user_id", "\u200b": "missing_user_id",
		"1.000": "invalid_user_id", "1,000": "invalid_user_id", "1 000": "invalid_user_id", "1'000": "invalid_user_id", "1408.000": "invalid_user_id",
		"1408.5": "invalid_user_id", "1408.05": "invalid_user_id", "1408.": "invalid_user_id", ".0": "invalid_user_id", "1.0.0": "invalid_user_id", "123,0": "invalid_user_id",
		"1.41E+03": "invalid_user_id",
		"+5":       "invalid_user_id", "-": "invalid_user_id", "--1": "invalid_user_id", "1e3": "invalid_user_id", "\u00ad5": "invalid_user_id",
		"0x1": "invalid_user_id", "1 2": "invalid_user_id", "abc": "invalid_user_id", "٣": "invalid_user_id", "1_0": "invalid_user_id",
	} {
		id, fault := parseUserID([]byte(cell))
		got := fault.String()
		if fault == 0 {
			got = fmt.Sprint(id)
		}
		assert.Equal(t, want, got, "%.40q", cell)
	}
}

// TestPrintableASCII has each byte at each place of eight and more.
func TestPrintableASCII(t *testing.T) {
	t.Parallel()
	for n := range 20 {
		for at := range n {
			for c := range 256 {
				b := bytes.Repeat([]byte{'0'}, n)
				b[at] = byte(c)
				require.Equal(t, c >= ' ' && c <= '~', printableASCII(b), "%q", b)
			}
		}
	}
}

// FuzzID reads an id that is accepted again: it is the same, and as ids must be. The fast
// path agrees with the slow one.
func FuzzID(f *testing.F) {
	for _, s := range []string{"TXN1", "9.91E+15", "='00123", `="00123"`, "V-\u00ad3", "e\u0301", "NULL", "\ufeffA", "A\x00", "1e5", "123.0", "0\x1f000000", "'='A"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, cell string) {
		if !utf8.ValidString(cell) {
			return // such a cell is a fault of its record
		}
		id, faults := cleanID([]byte(cell))
		if isPlainID([]byte(cell)) {
			require.Zero(t, faults, "%q", cell)
			require.Equal(t, cell, string(tidy([]byte(cell), invisible)))
			require.Zero(t, checkID([]byte(cell)), "%q", cell)
		}
		if faults == 0 {
			require.True(t, norm.NFC.IsNormal(id), "%q", cell)
			require.LessOrEqual(t, utf8.RuneCount(id), maxID)
			require.NotEmpty(t, id)
			require.False(t, strings.ContainsFunc(string(id), func(r rune) bool { return unicode.IsControl(r) || invisible(r) }), "%q", cell)
			if again, faults := cleanID(id); withoutGuardIsSame(id) {
				require.Zero(t, faults, "%q", cell)
				require.Equal(t, string(id), string(again))
			}
		}
		if user, fault := parseUserID([]byte(cell)); fault == 0 {
			require.Positive(t, user)
			again, fault := parseUserID(fmt.Append(nil, user))
			require.Zero(t, fault)
			require.Equal(t, user, again)
		}
	})
}

// withoutGuardIsSame reports whether an id would not lose a guard: of two guards only the
// outer one is taken off.
func withoutGuardIsSame(id []byte) bool { return len(withoutGuard(id)) == len(id) }
