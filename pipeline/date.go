package pipeline

import (
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
func (c *cleaning) parseDate(cell []byte) dateCell {
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
	trimmed := trimSpace(cell)
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
func (c *cleaning) decide(a, b, year int, sep byte) dateCell {
	order := c.order(sep)
	if order == "" {
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
	case order == DayFirst:
		month, day = b, a
	}
	date, ok := civil.New(year, month, day)
	if !ok {
		return dateCell{fault: FaultImpossibleDate}
	}
	cell.date = date
	cell.fault = c.window(cell.date)
	return cell
}

func (c *cleaning) window(d civil.Date) Fault {
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

// evidence counts the readings of dates with one separator.
type evidence struct {
	month, day, alike, byRule int64
}

func (e *evidence) count(r reading) {
	switch r {
	case readAlike:
		e.alike++
	case readMonth:
		e.month++
	case readDay:
		e.day++
	case readByRule:
		e.byRule++
	}
}

// contradicts tells whether dates that can be read in one order only speak
// against the rule.
func (e *evidence) contradicts(order DateOrder) bool {
	return order == MonthFirst && e.day > 0 || order == DayFirst && e.month > 0
}
