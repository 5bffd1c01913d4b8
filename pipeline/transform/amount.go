package transform

import (
	"bytes"
	"unicode"
	"unicode/utf8"

	"github.com/opentax/tally/internal/money"

	"golang.org/x/text/currency"
)

const (
	maxAmount   = 1_000_000_000_000_000 // first unscaled value of more than 15 digits
	maxDecimals = money.MaxDecimals
)

// parseAmount reads a cell. It takes what can be read in one way only:
// see the package's cleaning rules.
func parseAmount(cell []byte, decimal string) (money.Amount, Fault) {
	if decimal != DecimalComma {
		if a, ok := plainAmount(cell); ok {
			return a, 0
		}
	}
	cell = bytes.TrimSpace(cell)
	if len(cell) == 0 {
		return money.Amount{}, FaultMissingAmount
	}
	t, ok := dissectAmount(cell)
	if !ok {
		return money.Amount{}, FaultInvalidAmount
	}
	a, fault := readNumber(t.number, decimal)
	if t.negative {
		a.Unscaled = -a.Unscaled
	}
	return a, fault
}

// plainAmount is the fast path for [-][$]digits[.digits], which is nearly every
// amount there is. It leaves everything unusual to the slow path.
func plainAmount(b []byte) (money.Amount, bool) {
	i := 0
	negative := len(b) > 0 && b[0] == '-'
	if negative {
		i++
	}
	if i < len(b) && b[i] == '$' {
		i++
	}
	if len(b)-i > 18 { // so that u cannot overflow
		return money.Amount{}, false
	}
	var u int64
	first, point := i, -1
	for ; i < len(b); i++ {
		if d := b[i] - '0'; d <= 9 {
			u = u*10 + int64(d)
		} else if b[i] == '.' && point < 0 {
			point = i
		} else {
			return money.Amount{}, false
		}
	}
	decimals := 0
	if point >= 0 {
		decimals = len(b) - 1 - point
	}
	if len(b) == first || point >= 0 && decimals == 0 {
		return money.Amount{}, false
	}
	for ; decimals > 0 && u%10 == 0; decimals-- {
		u /= 10
	}
	if decimals > maxDecimals || u >= maxAmount {
		return money.Amount{}, false
	}
	if negative {
		u = -u
	}
	return money.Amount{Unscaled: u, Scale: uint8(decimals)}, true
}

// amountText is an amount taken apart; number holds neither sign nor mark.
type amountText struct {
	negative bool
	mark     []byte // currency symbol or code, if any
	number   []byte
}

// dissectAmount takes sign, currency mark and parentheses off: at most one of
// each kind, where a parenthesis counts as a sign. Spaces may stand around the
// currency mark and inside the parentheses.
func dissectAmount(b []byte) (amountText, bool) {
	var t amountText
	signed, parens, ok := false, 0, true
	for ok && len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == '+' || r == '-' || r == '\u2212' {
			ok, signed, t.negative = !signed, true, r != '+'
			b, ok = afterSign(b[n:], ok)
		} else if r == '(' {
			ok, signed, t.negative, parens = !signed, true, true, 1
			b = bytes.TrimSpace(b[n:])
		} else if n = markAtStart(b); n > 0 {
			ok = t.mark == nil
			t.mark, b = b[:n], bytes.TrimSpace(b[n:])
		} else {
			break
		}
	}
	for ok && len(b) > 0 {
		if parens == 1 && b[len(b)-1] == ')' {
			parens = 2
			b = bytes.TrimSpace(b[:len(b)-1])
		} else if n := markAtEnd(b); n > 0 {
			ok = t.mark == nil
			t.mark, b = b[len(b)-n:], bytes.TrimSpace(b[:len(b)-n])
		} else {
			break
		}
	}
	t.number = b
	return t, ok && parens != 1
}

// afterSign lets a space follow a sign only where a currency mark comes next.
func afterSign(b []byte, ok bool) ([]byte, bool) {
	t := bytes.TrimSpace(b)
	return t, ok && (len(t) == len(b) || markAtStart(t) > 0)
}

// markAtStart is the length of the currency mark that b starts with, or 0.
func markAtStart(b []byte) int {
	if r, n := utf8.DecodeRune(b); unicode.Is(unicode.Sc, r) {
		return n
	}
	if len(b) >= 3 && isCurrency(b[:3]) {
		return 3
	}
	return 0
}

func markAtEnd(b []byte) int {
	if r, n := utf8.DecodeLastRune(b); unicode.Is(unicode.Sc, r) {
		return n
	}
	if len(b) >= 3 && isCurrency(b[len(b)-3:]) {
		return 3
	}
	return 0
}

// isCurrency takes three upper-case letters that ISO 4217 knows, other than
// XXX, which stands for no currency.
func isCurrency(code []byte) bool {
	for _, c := range code {
		if c < 'A' || c > 'Z' {
			return false
		}
	}
	unit, err := currency.ParseISO(string(code))
	return err == nil && unit != currency.XXX
}

// number collects the digits of an amount by value: leading zeros are not kept.
type number struct {
	value  int64
	digits int // kept in value; more than 15 are counted, not kept
}

func (n *number) add(digit byte) {
	if n.digits == 0 && digit == '0' {
		return
	}
	n.digits++
	if n.digits <= 15 {
		n.value = n.value*10 + int64(digit-'0')
	}
}

// readNumber reads unsigned digits with thousands separators and decimals.
func readNumber(b []byte, decimal string) (money.Amount, Fault) {
	point, comma := byte('.'), ','
	if decimal == DecimalComma {
		point, comma = ',', '.'
	}
	whole, fraction, fractional := bytes.Cut(b, []byte{point})
	if fractional && len(fraction) == 0 || !fractional && len(whole) == 0 {
		return money.Amount{}, FaultInvalidAmount
	}
	var n number
	separator, groups, ok := readWhole(whole, comma, &n)
	if !ok || !onlyDigits(fraction) {
		return money.Amount{}, FaultInvalidAmount
	}
	if decimal == "" && separator == ',' && groups == 1 && !fractional {
		return money.Amount{}, FaultAmbiguousAmount
	}
	fraction = bytes.TrimRight(fraction, "0")
	if len(fraction) > maxDecimals || n.digits+len(fraction) > 15 {
		return money.Amount{}, FaultAmountPrecision
	}
	for _, d := range fraction {
		n.add(d)
	}
	return money.Amount{Unscaled: n.value, Scale: uint8(len(fraction))}, 0
}

// readWhole reads the digits before the decimals. Separators must be of one
// kind and part groups of exactly three; groups counts them.
func readWhole(b []byte, grouping rune, n *number) (separator rune, groups int, ok bool) {
	length := 0 // of the group at hand
	for i := 0; i < len(b); {
		if d := b[i]; d >= '0' && d <= '9' {
			n.add(d)
			length++
			i++
			continue
		}
		r, size := utf8.DecodeRune(b[i:])
		kind := separatorKind(r, grouping)
		first := groups == 0 && length >= 1 && length <= 3 && b[0] != '0'
		later := groups > 0 && length == 3 && kind == separator
		if kind == 0 || !first && !later {
			return 0, 0, false
		}
		separator, length = kind, 0
		groups++
		i += size
	}
	return separator, groups, groups == 0 || length == 3
}

// separatorKind is the kind of thousands separator that r is; 0: none.
func separatorKind(r, grouping rune) rune {
	switch r {
	case grouping:
		return r
	case '\'', '\u2019':
		return '\''
	case ' ', '\u00a0', '\u202f':
		return ' '
	default:
		return 0
	}
}

func onlyDigits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}
