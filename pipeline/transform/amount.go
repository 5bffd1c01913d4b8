package transform

import (
	"bytes"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/opentax/tally/internal/money"
)

const (
	maxAmount   = money.UnscaledLimit
	maxDecimals = money.MaxDecimals
)

// amountCell is an amount as a cell has it, and what it shows under any convention.
type amountCell struct {
	amount money.Amount
	mark   []byte // currency symbol or code, if any
	shows  shows
	fault  Fault
}

// parseAmount reads a cell. It takes what can be read in one way only.
func (p *parser) parseAmount(cell []byte) amountCell {
	if a, form := plainAmount(cell); form != notPlain {
		return amountCell{amount: a, mark: form.mark(cell), shows: form.shows()}
	}
	return p.parseFormattedAmount(tidy(cell, invisibleInNumber))
}

func (p *parser) parseFormattedAmount(cell []byte) amountCell {
	if len(cell) == 0 {
		return amountCell{fault: FaultMissingAmount}
	}
	if !isASCII(cell) {
		cell = norm.NFC.Bytes(cell) // of marks: Kč may have a caron of its own
	}
	t, ok := dissectAmount(cell)
	if !ok {
		return amountCell{fault: FaultInvalidAmount}
	}
	a := readNumber(t.number, p.choices[Decimal])
	if a.mark = t.mark; t.negative {
		a.amount.Unscaled = -a.amount.Unscaled
	}
	return a
}

// plainForm says what a plain amount has, in one byte for speed.
type plainForm uint8

const (
	notPlain  plainForm = 0
	isPlain   plainForm = 1
	hasPoint  plainForm = 2
	hasDollar plainForm = 4
)

func (f plainForm) shows() shows {
	if f&hasPoint != 0 {
		return showsFirst
	}
	return showsNothing
}

// mark is the dollar sign of a plain amount, if it has one.
func (f plainForm) mark(cell []byte) []byte {
	if f&hasDollar == 0 {
		return nil
	}
	return cell[bytes.IndexByte(cell, '$'):][:1]
}

// plainAmount is the fast path for [-][$]digits[.digits], but not for 1.250.
func plainAmount(b []byte) (a money.Amount, form plainForm) {
	i := 0
	negative := len(b) > 0 && b[0] == '-'
	if negative {
		i++
	}
	form = isPlain
	if i < len(b) && b[i] == '$' {
		form |= hasDollar
		i++
	}
	if len(b)-i > 18 { // so that u cannot overflow
		return a, notPlain
	}
	var u int64
	first, point := i, -1
	for ; i < len(b); i++ {
		if d := b[i] - '0'; d <= 9 {
			u = u*10 + int64(d)
		} else if b[i] == '.' && point < 0 {
			point = i
		} else {
			return a, notPlain
		}
	}
	decimals := 0
	if point >= 0 {
		decimals = len(b) - 1 - point
		form |= hasPoint
		if decimals == 0 || decimals == 3 && groupable(b[first:point]) {
			return a, notPlain
		}
	}
	if len(b) == first {
		return a, notPlain
	}
	for ; decimals > 0 && u%10 == 0; decimals-- {
		u /= 10
	}
	if decimals > maxDecimals || u >= maxAmount {
		return a, notPlain
	}
	if negative {
		u = -u
	}
	return money.Amount{Unscaled: u, Scale: uint8(decimals)}, form
}

// amountText is an amount taken apart; number holds neither sign nor mark.
type amountText struct {
	negative, signed, open bool
	mark                   []byte // currency symbol or code, if any
	number                 []byte
}

// dissectAmount takes sign, currency mark and parentheses off: at most one of each kind,
// where parentheses count as a sign. Spaces may stand between all of them.
func dissectAmount(b []byte) (t amountText, ok bool) {
	t.number = b
	for more := true; more; {
		if more, ok = t.takeFront(); !ok {
			return t, false
		}
	}
	signed := t.signed
	for more := true; more; {
		if more, ok = t.takeBack(); !ok {
			return t, false
		}
	}
	if n := len(t.number); t.signed && !signed && n > 0 && (t.number[n-1] == ',' || t.number[n-1] == '.') {
		return t, false // 5,- and 5.- are prices without cents, and not negative
	}
	return t, !t.open
}

// takeFront takes a sign or mark in front of the number; it is not ok a second time.
func (t *amountText) takeFront() (more, ok bool) {
	b := t.number
	r, n := utf8.DecodeRune(b)
	switch {
	case isSign(r):
		ok = t.sign(r != '+')
	case r == '(':
		ok, t.open = t.sign(true), true
	default:
		if n = markAtStart(b); n == 0 {
			return false, true
		}
		ok, t.mark = t.mark == nil, b[:n]
	}
	t.number = bytes.TrimSpace(b[n:])
	return true, ok
}

// takeBack takes one behind the number.
func (t *amountText) takeBack() (more, ok bool) {
	b := t.number
	r, n := utf8.DecodeLastRune(b)
	switch {
	case isSign(r):
		ok = t.sign(r != '+')
	case r == ')' && t.open:
		ok, t.open = true, false
	default:
		if n = markAtEnd(b); n == 0 {
			return false, true
		}
		ok, t.mark = t.mark == nil, b[len(b)-n:]
	}
	t.number = bytes.TrimSpace(b[:len(b)-n])
	return true, ok
}

func (t *amountText) sign(negative bool) (ok bool) {
	ok = !t.signed
	t.signed, t.negative = true, negative
	return ok
}

func isSign(r rune) bool { return r == '-' || r == '+' || r == '\u2212' }
