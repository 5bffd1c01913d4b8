package transform

import (
	"bytes"
	"encoding/binary"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

const maxID = 50 // characters of a transaction id

// tidy takes off what is no part of a cell's value: whitespace around it, characters that
// are not seen, and the guards by which a spreadsheet keeps a value as text, ="00123" and
// '00123. What stands for no value is blank.
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

// without is a copy without the characters; bytes that are not UTF-8 stay.
func without(b []byte, unseen func(rune) bool) []byte {
	left := make([]byte, 0, len(b))
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if !unseen(r) {
			left = append(left, b[:n]...)
		}
		b = b[n:]
	}
	return left
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

// isPlainID takes ids that are as they should be, which nearly all of them are. It leaves
// what starts like anything else to the slow path.
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
	if isRounded(id) || isSpreadsheetError(id) {
		faults = faults.With(FaultDamagedTransactionID)
	}
	return faults
}

// isSpreadsheetError takes what a spreadsheet shows where it has no value: as ids, all of
// them would be the same row.
func isSpreadsheetError(b []byte) bool {
	switch string(b) {
	case "#VALUE!", "#REF!", "#DIV/0!", "#NAME?", "#NUM!", "#NULL!":
		return true
	default:
		return false
	}
}

// isRounded takes a number as spreadsheets cut it, such as 9.91E+15: one digit, decimals,
// and an exponent with its sign.
func isRounded(b []byte) bool {
	b = b[signLength(b):]
	if len(b) == 0 || !onlyDigits(b[:1]) {
		return false
	}
	mantissa, exponent, ok := bytes.Cut(b[1:], []byte{'E'})
	if !ok {
		mantissa, exponent, ok = bytes.Cut(b[1:], []byte{'e'})
	}
	if len(mantissa) > 0 {
		ok = ok && len(mantissa) > 1 && (mantissa[0] == '.' || mantissa[0] == ',') && onlyDigits(mantissa[1:])
	}
	n := signLength(exponent)
	return ok && n == 1 && len(exponent) > n && onlyDigits(exponent[n:])
}

// signLength is 1 if b starts with a plus or a minus, else 0.
func signLength(b []byte) int {
	if len(b) > 0 && (b[0] == '+' || b[0] == '-') {
		return 1
	}
	return 0
}

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

// parseFormattedUserID takes zeros behind a point off, but for three of them: 1.000 may be
// a thousand.
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
