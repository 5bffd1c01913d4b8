package transform

import (
	"bytes"
	"strings"
	"time"
)

// dateText is a date taken apart.
type dateText struct {
	year          int
	first, second int  // month and day, but where there is a separator
	separator     byte // of digits with the year last, whose order of month and day is open; else 0
	shortYear     bool // of two digits
}

// dissectDate takes a date apart: digits with the year first or last, or with the name of
// a month. Spaces may stand around the separators, and a weekday in front.
func dissectDate(b []byte) (t dateText, ok bool) {
	if len(b) == 8 && onlyDigits(b) {
		return dateText{year: number(b[:4]), first: number(b[4:6]), second: number(b[6:])}, true
	}
	parts, gaps, ok := cutDate(withoutWeekday(b))
	if !ok {
		return t, false
	}
	for i := range 2 {
		if month := monthOf(parts[i]); month != 0 {
			return dateWithName(parts, gaps, i, month)
		}
	}
	separator := bytes.Trim(gaps[0], " ")
	final := len(gaps[2]) == 0 || string(gaps[2]) == "." && string(separator) == "." // 2024. 11. 05.
	if !final || len(separator) != 1 || !bytes.Equal(separator, bytes.Trim(gaps[1], " ")) || !isDateSeparator(separator[0]) {
		return t, false
	}
	switch {
	case isYear(parts[0]) && isShort(parts[1]) && isShort(parts[2]):
		if parts[1][0] == '0' && len(parts[2]) == 1 {
			return t, false // 2024-01-1 may have been cut short: a day would be 01, or its month 1
		}
		return dateText{year: number(parts[0]), first: number(parts[1]), second: number(parts[2])}, true
	case !isShort(parts[0]) || !isShort(parts[1]):
		return t, false
	}
	return dateText{first: number(parts[0]), second: number(parts[1]), separator: separator[0]}.withYear(parts[2])
}

// withoutWeekday takes the English name of a weekday off, with what follows it.
func withoutWeekday(b []byte) []byte {
	n := runLength(b, isLetter)
	for day := time.Sunday; day <= time.Saturday; day++ {
		if rest := bytes.TrimLeft(b[n:], "., "); abbreviates(b[:n], day.String()) && len(rest) < len(b)-n {
			return rest
		}
	}
	return b
}

// dateWithName puts a date together that has a month's name in its first or second part.
func dateWithName(parts, gaps [3][]byte, at, month int) (t dateText, ok bool) {
	for i := range gaps {
		if isShort(parts[i]) {
			gaps[i] = gaps[i][ordinalLength(gaps[i]):]
		}
	}
	alike := bytes.Equal(gaps[0], gaps[1]) || !bytes.ContainsAny(gaps[0], "-/") && !bytes.ContainsAny(gaps[1], "-/")
	if !alike || !isGap(gaps[0]) || !isGap(gaps[1]) || len(gaps[2]) > 0 {
		return t, false
	}
	day, year := parts[1-at], parts[2]
	if at == 1 && isYear(day) {
		day, year = year, day
	}
	if !isShort(day) {
		return t, false
	}
	return dateText{first: month, second: number(day)}.withYear(year)
}

// withYear adds a year of four digits or of two.
func (t dateText) withYear(year []byte) (dateText, bool) {
	t.year, t.shortYear = number(year), len(year) == 2
	return t, onlyDigits(year) && (len(year) == 2 || len(year) == 4)
}

// cutDate cuts a date into three parts of only digits or only letters, and the gaps
// behind them, which start with the letters of an ordinal number.
func cutDate(b []byte) (parts, gaps [3][]byte, ok bool) {
	for i := range parts {
		n := runLength(b, isDigit)
		if n == 0 {
			n = runLength(b, isLetter)
		}
		if n == 0 {
			return parts, gaps, false
		}
		parts[i], b = b[:n], b[n:]
		n = ordinalLength(b)
		n += runLength(b[n:], isGapByte)
		gaps[i], b = b[:n], b[n:]
	}
	return parts, gaps, len(b) == 0
}

// ordinalLength is 2 if b starts with the letters of 1st, 2nd, 3rd or 4th, else 0.
func ordinalLength(b []byte) int {
	if runLength(b, isLetter) == 2 {
		switch strings.ToLower(string(b[:2])) {
		case "st", "nd", "rd", "th":
			return 2
		}
	}
	return 0
}

func runLength(b []byte, is func(byte) bool) int {
	for i, c := range b {
		if !is(c) {
			return i
		}
	}
	return len(b)
}

func isDigit(c byte) bool   { return c-'0' <= 9 }
func isLetter(c byte) bool  { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func isGapByte(c byte) bool { return isDateSeparator(c) || c == ',' || c == ' ' }

// isGap takes what stands beside a month's name: spaces, one sign, or ", " and ". ".
func isGap(gap []byte) bool {
	sign := bytes.TrimRight(gap, " ")
	return len(sign) == 0 || len(sign) == 1 && (sign[0] == ',' || sign[0] == '.' || len(gap) == 1 && isDateSeparator(sign[0]))
}

func isYear(b []byte) bool  { return len(b) == 4 && onlyDigits(b) }
func isShort(b []byte) bool { return len(b) >= 1 && len(b) <= 2 && onlyDigits(b) }

// number is the value of a few digits.
func number(b []byte) int {
	n := 0
	for _, c := range b {
		n = n*10 + int(c-'0')
	}
	return n
}

// monthOf is the month with an English name, short or whole, in any case; 0: it is none.
func monthOf(name []byte) int {
	for month := time.January; month <= time.December; month++ {
		if abbreviates(name, month.String()) {
			return int(month)
		}
	}
	return 0
}

// abbreviates reports whether a name is a whole one, or its first letters, three or more.
func abbreviates(name []byte, whole string) bool {
	return len(name) >= 3 && len(name) <= len(whole) && strings.EqualFold(string(name), whole[:len(name)])
}
