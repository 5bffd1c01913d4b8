package transform

import (
	"bytes"
	"unicode"
	"unicode/utf8"

	"github.com/opentax/tally/internal/money"
)

// digits collects the digits of a number by value: leading zeros are not kept.
type digits struct {
	value int64
	count int // kept in value; more than 15 are counted, not kept
}

func (n *digits) add(b []byte) {
	for _, c := range b {
		d := c - '0'
		if d > 9 || n.count == 0 && d == 0 {
			continue
		}
		if n.count++; n.count <= 15 {
			n.value = n.value*10 + int64(d)
		}
	}
}

// readNumber reads digits with separators. The last comma or point is the decimal sign if
// it is the only one of its kind; all others separate thousands. A single separator with
// three digits behind it can be either.
func readNumber(b []byte, choice Choice) amountCell {
	last := bytes.LastIndexByte(b, '.')
	if comma := bytes.LastIndexByte(b, ','); comma > last {
		last = comma
	}
	if last < 0 {
		return readDecimal(b, nil, showsNothing)
	}
	proven, disproven := showsFirst, showsSecond
	if b[last] == ',' {
		proven, disproven = showsSecond, showsFirst
	}
	whole, fraction := b[:last], b[last+1:]
	if bytes.IndexByte(whole, b[last]) >= 0 {
		return readDecimal(b, nil, disproven)
	}
	if len(fraction) != 3 || !onlyDigits(fraction) || !groupable(whole) {
		return readDecimal(whole, fraction, proven)
	}
	switch {
	case choice == Unknown:
		return amountCell{shows: showsEither, fault: FaultAmbiguousAmount}
	case (choice == DecimalComma) == (b[last] == ','):
		return readDecimal(whole, fraction, showsEither)
	default:
		return readDecimal(b, nil, showsEither)
	}
}

// groupable reports whether digits can be the first group of a number's thousands.
func groupable(b []byte) bool {
	return len(b) >= 1 && len(b) <= 3 && b[0] != '0' && onlyDigits(b)
}

// readDecimal reads the digits before and after the decimal sign. Precision counts by
// value: zeros at either end are none of it.
func readDecimal(whole, fraction []byte, what shows) amountCell {
	if len(whole)+len(fraction) == 0 || !isGrouped(whole) || !onlyDigits(fraction) {
		return amountCell{fault: FaultInvalidAmount}
	}
	fraction = bytes.TrimRight(fraction, "0")
	var n digits
	n.add(whole)
	if len(fraction) > maxDecimals || n.count+len(fraction) > 15 {
		return amountCell{shows: what, fault: FaultAmountPrecision}
	}
	n.add(fraction)
	return amountCell{amount: money.Amount{Unscaled: n.value, Scale: uint8(len(fraction))}, shows: what}
}

// isGrouped takes digits in groups of three, in lakh and crore, or in one piece.
func isGrouped(b []byte) bool {
	var separator rune
	var first, inner, length, groups int // lengths of the first group, of those between, of the one at hand
	for i := 0; i < len(b); {
		if b[i]-'0' <= 9 {
			length++
			i++
			continue
		}
		r, size := utf8.DecodeRune(b[i:])
		kind := separatorKind(r)
		switch {
		case kind == 0 || groups > 0 && kind != separator:
			return false
		case groups == 0:
			first, separator = length, kind
		case groups == 1:
			inner = length
		case inner != length:
			return false
		}
		groups, length = groups+1, 0
		i += size
	}
	if groups == 0 {
		return true
	}
	lakh := inner == 2 && first <= 2
	return b[0] != '0' && first >= 1 && first <= 3 && length == 3 && (groups == 1 || inner == 3 || lakh)
}

// separatorKind is the kind of thousands separator that r is; 0: none.
func separatorKind(r rune) rune {
	switch {
	case r == '.' || r == ',':
		return r
	case r == '\'' || r == '\u2019':
		return '\''
	case unicode.Is(unicode.Zs, r):
		return ' '
	default:
		return 0
	}
}

func onlyDigits(b []byte) bool { return runLength(b, isDigit) == len(b) }
