package transform

import (
	"bytes"
	"unicode"

	"github.com/opentax/tally/internal/civil"
)

// dateCell is what a date cell says, and what it shows, also outside the window.
type dateCell struct {
	date       civil.Date
	convention Convention
	shows      shows
	fault      Fault
}

// parseDate reads a cell.
func (p *parser) parseDate(cell []byte) (d dateCell) {
	if year, month, day, ok := yearFirst(cell); ok {
		d = calendarDate(year, month, day)
	} else if a, b, year, separator, ok := yearLast(cell); ok {
		d = p.decide(a, b, year, separator)
	} else {
		d = p.readFormattedDate(cell)
	}
	if d.fault == 0 && (d.date < p.from || d.date > p.to) {
		d.date, d.fault = 0, FaultDateOutOfWindow
	}
	return d
}

// readFormattedDate reads a date that is not of the usual forms, or has a time of day.
func (p *parser) readFormattedDate(cell []byte) dateCell {
	cell = inASCII(tidy(cell, invisibleInNumber))
	if len(cell) == 0 {
		return dateCell{fault: FaultMissingDate}
	}
	var clock timeOfDay
	t, ok := dissectDate(cell)
	if !ok {
		var date []byte
		if date, clock, ok = cutTime(cell); ok {
			t, ok = dissectDate(date)
		}
	}
	if !ok || t.shortYear && p.century == 0 || clock.onlyName && p.zone != nil {
		return dateCell{fault: FaultInvalidDate}
	}
	if t.shortYear {
		t.year = inCentury(t.year, p.century)
	}
	d := calendarDate(t.year, t.first, t.second)
	if t.separator != 0 {
		d = p.decide(t.first, t.second, t.year, t.separator)
	}
	if d.fault == 0 && clock.hasOffset && p.zone != nil {
		d.date = clock.dateIn(p.zone, d.date)
	}
	return d
}

// inASCII makes every space, dash and minus that of ASCII.
func inASCII(b []byte) []byte {
	if isASCII(b) {
		return b
	}
	return bytes.Map(func(r rune) rune {
		switch {
		case unicode.Is(unicode.Zs, r):
			return ' '
		case r == '\u2010' || r == '\u2011' || r == '\u2212':
			return '-'
		default:
			return r
		}
	}, b)
}

func calendarDate(year, month, day int) dateCell {
	date, ok := civil.New(year, month, day)
	if !ok {
		return dateCell{fault: FaultImpossibleDate}
	}
	return dateCell{date: date}
}

// decide reads a/b/year in the one order that is possible; where both are, by the
// convention. A date that is impossible shows nothing.
func (p *parser) decide(a, b, year int, separator byte) dateCell {
	convention, what := Slash, showsEither
	switch separator {
	case '-':
		convention = Dash
	case '.':
		convention = Dot
	}
	month, day := a, b
	switch {
	case a == b:
		what = showsAlike
	case b > 12:
		what = showsFirst
	case a > 12:
		what, month, day = showsSecond, b, a
	case p.choices[convention] == DayFirst:
		month, day = b, a
	}
	d := calendarDate(year, month, day)
	if d.fault != 0 {
		return d
	}
	d.convention, d.shows = convention, what
	if what == showsEither && p.choices[convention] == Unknown {
		d.date, d.fault = 0, FaultAmbiguousDate
	}
	return d
}

// inCentury is the year of the hundred from century on that ends in two digits.
func inCentury(digits, century int) int {
	year := century - century%100 + digits
	if year < century {
		year += 100
	}
	return year
}

// yearFirst takes YYYY-MM-DD and YYYY/MM/DD apart, which most dates are.
func yearFirst(b []byte) (year, month, day int, ok bool) {
	if len(b) != 10 || b[4] != b[7] || b[4] != '-' && b[4] != '/' {
		return 0, 0, 0, false
	}
	year, month, day = twoDigit(b[0], b[1])*100+twoDigit(b[2], b[3]), twoDigit(b[5], b[6]), twoDigit(b[8], b[9])
	return year, month, day, year|month|day < noDigit
}

// yearLast takes dates of three parts apart that end in a year of four digits.
func yearLast(b []byte) (first, second, year int, separator byte, ok bool) {
	n := len(b)
	if n < 8 || n > 10 {
		return 0, 0, 0, 0, false
	}
	separator = b[n-5]
	year = twoDigit(b[n-4], b[n-3])*100 + twoDigit(b[n-2], b[n-1])
	switch {
	case n == 10 && b[2] == separator:
		first, second = twoDigit(b[0], b[1]), twoDigit(b[3], b[4])
	case n == 9 && b[2] == separator:
		first, second = twoDigit(b[0], b[1]), twoDigit('0', b[3])
	case n == 9 && b[1] == separator:
		first, second = twoDigit('0', b[0]), twoDigit(b[2], b[3])
	case n == 8 && b[1] == separator:
		first, second = twoDigit('0', b[0]), twoDigit('0', b[2])
	default:
		return 0, 0, 0, 0, false
	}
	return first, second, year, separator, first|second|year < noDigit && isDateSeparator(separator)
}

func isDateSeparator(c byte) bool { return c == '/' || c == '-' || c == '.' }

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
