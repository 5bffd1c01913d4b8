package transform

import (
	"bytes"

	"github.com/opentax/tally/internal/civil"
)

// reading is how a date cell was understood.
type reading uint8

const (
	readNone      reading = iota // blank, of no known shape or in no calendar
	readYearFirst                // YYYY-MM-DD or YYYY/MM/DD: nothing to decide
	readAlike                    // month and day are equal: both orders agree
	readMonth                    // possible only with the month first
	readDay                      // possible only with the day first
	readByRule                   // ambiguous: read by its separator's rule
)

// dateCell is what a date cell says. Its separator and reading are the file's
// evidence on the order of its dates, and count even where the date is outside
// the window.
type dateCell struct {
	date      civil.Date
	separator byte
	reading   reading
	fault     Fault
}

// parseDate reads a cell.
func (c *conventions) parseDate(cell []byte) dateCell {
	if y, m, d, sep, ok := yearFirst(cell); ok {
		date, ok := civil.New(y, m, d)
		if !ok {
			return dateCell{fault: FaultImpossibleDate}
		}
		return dateCell{date, sep, readYearFirst, c.window(date)}
	}
	if a, b, year, sep, ok := yearLast(cell); ok {
		return c.decide(a, b, year, sep)
	}
	trimmed := bytes.TrimSpace(cell)
	switch {
	case len(trimmed) == 0:
		return dateCell{fault: FaultMissingDate}
	case len(trimmed) < len(cell):
		return c.parseDate(trimmed)
	default:
		return dateCell{fault: FaultInvalidDate}
	}
}

// decide reads a/b/year in the one order that is possible; where both are, by
// the rule.
func (c *conventions) decide(a, b, year int, sep byte) dateCell {
	index := separatorIndex(sep)
	if index == len(dateSeparators) || c.orders[index] == "" {
		return dateCell{fault: FaultInvalidDate}
	}
	month, day := a, b
	cell := dateCell{separator: sep, reading: readByRule}
	switch {
	case a == b:
		cell.reading = readAlike
	case b > 12:
		cell.reading = readMonth
	case a > 12:
		cell.reading, month, day = readDay, b, a
	case c.orders[index] == DayFirst:
		month, day = b, a
	}
	date, ok := civil.New(year, month, day)
	if !ok {
		return dateCell{fault: FaultImpossibleDate}
	}
	cell.date, cell.fault = date, c.window(date)
	return cell
}

func (c *conventions) window(d civil.Date) Fault {
	if d < c.from || d > c.to {
		return FaultDateOutOfWindow
	}
	return 0
}

// yearFirst takes YYYY-MM-DD and YYYY/MM/DD apart. Month and day have exactly
// two digits: were one enough, a date cut short would become another date.
func yearFirst(b []byte) (year, month, day int, sep byte, ok bool) {
	if len(b) != 10 || b[4] != b[7] || b[4] != '-' && b[4] != '/' {
		return 0, 0, 0, 0, false
	}
	year, month, day = twoDigit(b[0], b[1])*100+twoDigit(b[2], b[3]), twoDigit(b[5], b[6]), twoDigit(b[8], b[9])
	return year, month, day, b[4], year|month|day < noDigit
}

// yearLast takes dates apart that end in exactly four digits of year, after two
// parts of one or two digits.
func yearLast(b []byte) (first, second, year int, sep byte, ok bool) {
	n := len(b)
	if n < 8 || n > 10 {
		return 0, 0, 0, 0, false
	}
	sep = b[n-5]
	year = twoDigit(b[n-4], b[n-3])*100 + twoDigit(b[n-2], b[n-1])
	switch {
	case n == 10 && b[2] == sep:
		first, second = twoDigit(b[0], b[1]), twoDigit(b[3], b[4])
	case n == 9 && b[2] == sep:
		first, second = twoDigit(b[0], b[1]), twoDigit('0', b[3])
	case n == 9 && b[1] == sep:
		first, second = twoDigit('0', b[0]), twoDigit(b[2], b[3])
	case n == 8 && b[1] == sep:
		first, second = twoDigit('0', b[0]), twoDigit('0', b[2])
	default:
		return 0, 0, 0, 0, false
	}
	return first, second, year, sep, first|second|year < noDigit
}

// noDigit is more than any date's number, and survives being multiplied by 100.
const noDigit = 1 << 20

// twoDigit is the value of two digits, or noDigit.
func twoDigit(tens, ones byte) int {
	tens, ones = tens-'0', ones-'0'
	if tens > 9 || ones > 9 {
		return noDigit
	}
	return int(tens)*10 + int(ones)
}

// evidence is what a file's dates tell of their order, by separator.
type evidence [len(dateSeparators)]readings

// readings counts the readings of dates with one separator.
type readings struct {
	month, day, alike, byRule int64
}

func (r *readings) count(how reading) {
	switch how {
	case readAlike:
		r.alike++
	case readMonth:
		r.month++
	case readDay:
		r.day++
	case readByRule:
		r.byRule++
	}
}

// add adds what another part of the file tells.
func (e *evidence) add(o *evidence) {
	for i := range e {
		e[i].month += o[i].month
		e[i].day += o[i].day
		e[i].alike += o[i].alike
		e[i].byRule += o[i].byRule
	}
}

// contradicts reports whether dates that can be read in one order only contradict the
// rule.
func (r readings) contradicts(order DateOrder) bool {
	return order == MonthFirst && r.day > 0 || order == DayFirst && r.month > 0
}
