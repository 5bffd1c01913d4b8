package extract

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// OppositeSigns are markers of amounts that are usual beside each other, the negative one
// first, as [Marker] writes them.
func OppositeSigns() [][2]string {
	return [][2]string{
		{"-", "+"}, {"S", "H"}, {"SOLL", "HABEN"}, {"D", "C"}, {"D", "K"}, {"DR", "CR"}, {"DB", "CR"}, {"DEB", "CRED"}, {"DBIT", "CRDT"},
		{"DEBIT", "CREDIT"}, {"DEBET", "CREDIT"}, {"DÉBIT", "CRÉDIT"}, {"DEBE", "HABER"}, {"CARGO", "ABONO"},
		{"LASTSCHRIFT", "GUTSCHRIFT"}, {"BELASTUNG", "GUTSCHRIFT"}, {"AF", "BIJ"},
		{"O", "I"}, {"OUT", "IN"}, {"WITHDRAWAL", "DEPOSIT"}, {"EXPENSE", "INCOME"},
	}
}

// Marker is a sign marker in the form in which markers are compared: NFC, in capitals,
// with the minus of ASCII, and without spaces around it or points behind it.
func Marker(text string) string {
	text = strings.ToUpper(norm.NFC.String(strings.TrimSpace(text)))
	text = strings.TrimRightFunc(text, func(r rune) bool { return r == '.' || unicode.IsSpace(r) })
	return strings.ReplaceAll(text, "\u2212", "-")
}

// allSigns reports whether the cells in a column are signs, but for blank ones and at most
// a tenth of others.
func allSigns(rows [][]string, column int) bool {
	known := map[string]bool{}
	for _, pair := range OppositeSigns() {
		known[pair[0]], known[pair[1]] = true, true
	}
	signs, others := 0, 0
	for _, row := range rows {
		if column >= len(row) {
			continue
		}
		switch marker := Marker(row[column]); {
		case marker == "":
		case known[marker]:
			signs++
		default:
			others++
		}
	}
	return signs > 0 && 10*others <= signs+others
}
