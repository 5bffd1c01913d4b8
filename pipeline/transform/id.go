package transform

import (
	"bytes"
	"encoding/binary"
	"regexp"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

const maxID = 50 // characters of a transaction id

// tidy takes off whitespace, characters that are not seen, and a spreadsheet's guards of
// text, ="00123" and '00123. What stands for no value is blank.
func tidy(cell []byte, unseen func(rune) bool) []byte {
	cell = bytes.TrimSpace(cell)
	if !isASCII(cell) && bytes.ContainsFunc(cell, unseen) {
		cell = bytes.TrimSpace(without(cell, unseen))
	}
	cell = bytes.TrimSpace(withoutGuard(cell))
	if isNull(cell) {
		return nil
	}
	return cell
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// without is a copy without the characters.
func without(b []byte, unseen func(rune) bool) []byte {
	return bytes.Map(func(r rune) rune {
		if unseen(r) {
			return -1
		}
		return r
	}, b)
}

func invisible(r rune) bool { return unicode.Is(unicode.Cf, r) }

// invisibleInNumber leaves soft hyphens, as some files have them for a minus.
func invisibleInNumber(r rune) bool { return r != '\u00ad' && invisible(r) }

func withoutGuard(cell []byte) []byte {
	n := len(cell)
	switch {
	case n >= 3 && cell[0] == '=' && cell[1] == '"' && cell[n-1] == '"':
		return cell[2 : n-1]
	case n == 1 && cell[0] == '\'', n > 1 && cell[0] == '\'' && cell[n-1] != '\'':
		return cell[1:]
	default:
		return cell
	}
}

// isNull takes what databases and programs write for no value, in any case.
func isNull(cell []byte) bool {
	for _, null := range []string{"null", `\n`, "nan", "nat", "none", "n/a", "#n/a"} {
		if len(cell) == len(null) && hasPrefix(cell, null) {
			return true
		}
	}
	return false
}

// cleanID is the id in a cell, or what is wrong with it.
func cleanID(id []byte) ([]byte, Faults) {
	if isPlainID(id) {
		return id, 0
	}
	if id = tidy(id, invisible); !norm.NFC.IsNormal(id) {
		id = norm.NFC.Bytes(id)
	}
	if faults := checkID(id); faults != 0 {
		return nil, faults
	}
	return id, 0
}

// isPlainID is the fast path: it takes ids that are as they should be.
func isPlainID(id []byte) bool {
	n := len(id)
	if n < 2 || n > maxID || id[n-1] == ' ' || !printableASCII(id) {
		return false
	}
	switch c := id[0] | 0x20; {
	case c >= 'a' && c <= 'z':
		return c != 'n' || n > len("null")
	case c >= '0' && c <= '9':
		return id[1] != '.' && id[1] != ',' && id[1]|0x20 != 'e'
	default:
		return false
	}
}

// checkID finds what is wrong with a tidied transaction id.
func checkID(id []byte) Faults {
	var faults Faults
	if len(id) == 0 {
		return faults.With(FaultMissingTransactionID)
	}
	if len(id) > maxID && utf8.RuneCount(id) > maxID {
		faults = faults.With(FaultTransactionIDTooLong)
	}
	if bytes.ContainsFunc(id, unicode.IsControl) {
		faults = faults.With(FaultInvalidTransactionID)
	}
	if rounded.Match(id) || isSpreadsheetError(id) {
		faults = faults.With(FaultDamagedTransactionID)
	}
	return faults
}

// isSpreadsheetError takes what would make one row of all that lost their ids.
func isSpreadsheetError(b []byte) bool {
	switch string(b) {
	case "#VALUE!", "#REF!", "#DIV/0!", "#NAME?", "#NUM!", "#NULL!":
		return true
	default:
		return false
	}
}

// rounded is a number as spreadsheets cut it, such as 9.91E+15.
var rounded = regexp.MustCompile(`^[+-]?[0-9]([.,][0-9]+)?[eE][+-][0-9]+$`)

// printableASCII looks at eight bytes at a time, the last ones twice if need be.
func printableASCII(b []byte) bool {
	if len(b) < 8 {
		for _, c := range b {
			if c < ' ' || c > '~' {
				return false
			}
		}
		return true
	}
	const each = 0x0101010101010101
	var odd uint64
	for i := 0; i < len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[min(i, len(b)-8):])
		// The top bit of each byte is set by a byte below 0x20, 0x7f, or above it.
		odd |= (x - 0x20*each) | (x + each) | x
	}
	return odd&(0x80*each) == 0
}

// parseUserID reads digits with a value from 1 to 2147483647.
func parseUserID(cell []byte) (int32, Fault) {
	if id := decimalDigits(cell); id != 0 && id <= 1<<31-1 {
		return int32(id), 0
	}
	return parseFormattedUserID(cell)
}

// parseFormattedUserID takes 123.0 as well, but not 1.000, which may be a thousand.
func parseFormattedUserID(cell []byte) (int32, Fault) {
	cell = tidy(cell, invisibleInNumber)
	if len(cell) == 0 {
		return 0, FaultMissingUserID
	}
	unsigned := bytes.TrimPrefix(cell, []byte{'-'})
	negative := len(unsigned) != len(cell)
	if whole, zeros, ok := bytes.Cut(unsigned, []byte{'.'}); ok && len(zeros) != 0 && len(zeros) != 3 && len(bytes.Trim(zeros, "0")) == 0 {
		unsigned = whole
	}
	if len(unsigned) == 0 || !onlyDigits(unsigned) {
		return 0, FaultInvalidUserID
	}
	id := decimalDigits(bytes.TrimLeft(unsigned, "0"))
	if negative || id < 1 || id > 1<<31-1 {
		return 0, FaultUserIDOutOfRange
	}
	return int32(id), 0
}

// decimalDigits is the value of 1 to 10 digits; 0 of anything else.
func decimalDigits(b []byte) uint64 {
	if len(b) > 10 {
		return 0
	}
	var n uint64
	for _, c := range b {
		d := c - '0'
		if d > 9 {
			return 0
		}
		n = n*10 + uint64(d)
	}
	return n
}
