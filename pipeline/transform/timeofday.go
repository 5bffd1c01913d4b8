package transform

import (
	"bytes"
	"strings"
	"time"

	"github.com/opentax/tally/internal/civil"
)

const secondsPerHour = 60 * 60

// timeOfDay is what a date's time of day says.
type timeOfDay struct {
	seconds   int  // since midnight
	offset    int  // seconds east of UTC
	hasOffset bool // else it is not known
	onlyName  bool // of a zone, which does not show the offset: CST is one of three
}

// dateIn is the date that a zone has at the time on a date.
func (t timeOfDay) dateIn(zone *time.Location, d civil.Date) civil.Date {
	return civil.Of(d.Time().Add(time.Duration(t.seconds-t.offset) * time.Second).In(zone))
}

// cutTime cuts the time of day off: it follows spaces, a comma and spaces, a T, or a dash
// as DB2 writes it, 2024-11-05-10.30.00.
func cutTime(b []byte) (date []byte, t timeOfDay, ok bool) {
	for i := len(b) - 1; i > 0; i-- {
		if !isClock(b[i], b[i+1:]) {
			continue
		}
		t, ok = parseTime(b[i+1:])
		if b[i] == ' ' {
			return bytes.TrimSuffix(bytes.TrimRight(b[:i], " "), []byte{','}), t, ok
		}
		return b[:i], t, ok && isDigit(b[i-1])
	}
	return nil, t, false
}

// isClock reports whether a time of day starts after a byte: 10:30, 10.30, after a T also
// 1030, and after a dash only 10.30.00.
func isClock(after byte, b []byte) bool {
	isT := after|0x20 == 't'
	n := runLength(b, isDigit)
	switch {
	case n == 4 || n == 6:
		return isT
	case n == 0 || n > 2 || n == len(b) || after != ' ' && after != '-' && !isT:
		return false
	case b[n] == '.' && runLength(b[n+1:], isDigit) == 2:
		return after != '-' || len(b) > n+3 && b[n+3] == '.'
	default:
		return b[n] == ':' && after != '-'
	}
}

// parseTime reads HH:MM[:SS[.fraction]], with points or nothing for the colons, and what
// may follow: AM or PM, and a zone. There are no leap seconds, and no 24:00.
func parseTime(b []byte) (t timeOfDay, ok bool) {
	var hour, minute, second int
	if n := runLength(b, isDigit); n > 2 {
		hour, minute, second = number(b[:2]), number(b[2:4]), number(b[4:n])
		if b = b[n:]; n == 6 {
			b = withoutFraction(b)
		}
	} else {
		sign := b[n]
		hour = number(b[:n])
		if minute, b = twoDigits(b[n+1:]); len(b) > 0 && b[0] == sign {
			second, b = twoDigits(b[1:])
			b = withoutFraction(b)
		}
	}
	b = bytes.TrimLeft(b, " ")
	if n, pm := meridian(b); n > 0 {
		if hour < 1 || hour > 12 {
			return t, false
		}
		if hour %= 12; pm {
			hour += 12
		}
		b = bytes.TrimLeft(b[n:], " ")
	}
	if hour > 23 || uint(minute) > 59 || uint(second) > 59 {
		return t, false
	}
	t.seconds = hour*secondsPerHour + minute*60 + second
	return t, len(b) == 0 || t.readZone(b)
}

// twoDigits reads exactly two digits; -1: they are not there.
func twoDigits(b []byte) (n int, rest []byte) {
	if runLength(b, isDigit) != 2 {
		return -1, b
	}
	return number(b[:2]), b[2:]
}

// withoutFraction takes the decimals of a second off.
func withoutFraction(b []byte) []byte {
	if len(b) > 1 && (b[0] == '.' || b[0] == ',') {
		if n := runLength(b[1:], isDigit); n > 0 {
			return b[1+n:]
		}
	}
	return b
}

// meridian finds AM or PM, which may have points; n is its length, 0: there is none.
func meridian(b []byte) (n int, pm bool) {
	for _, form := range []string{"am", "pm", "a.m.", "p.m."} {
		if n := len(form); hasPrefix(b, form) && (len(b) == n || !isLetter(b[n])) {
			return n, form[0] == 'p'
		}
	}
	return 0, false
}

// hasPrefix compares in any case.
func hasPrefix(b []byte, prefix string) bool {
	return len(b) >= len(prefix) && strings.EqualFold(string(b[:len(prefix)]), prefix)
}

// readZone reads an offset, and drops a zone's name, also behind it: +01:00[Europe/Paris].
func (t *timeOfDay) readZone(b []byte) (ok bool) {
	offset, rest, ok := cutOffset(b)
	if !ok {
		t.onlyName = true
		return isZoneName(b)
	}
	t.offset, t.hasOffset = offset, true
	rest = bytes.TrimLeft(rest, " ")
	return len(rest) == 0 || isZoneName(rest)
}

// cutOffset cuts Z, UTC, GMT, or ±HH, ±HHMM, ±H:MM off, which may follow UTC or GMT.
func cutOffset(b []byte) (seconds int, rest []byte, ok bool) {
	utc := hasPrefix(b, "utc") || hasPrefix(b, "gmt")
	if utc {
		b = b[len("utc"):]
	} else if hasPrefix(b, "z") {
		return 0, b[1:], len(b) == 1 || !isLetter(b[1])
	}
	signed := bytes.TrimLeft(b, " ")
	if len(signed) == 0 || signed[0] != '+' && signed[0] != '-' {
		return 0, b, utc && (len(b) == 0 || !isLetter(b[0]))
	}
	digits := signed[1:]
	n := runLength(digits, isDigit)
	var hours, minutes int
	switch rest = digits[n:]; {
	case n == 4:
		hours, minutes = number(digits[:2]), number(digits[2:4])
	case n != 1 && n != 2:
		return 0, nil, false
	default:
		if hours = number(digits[:n]); len(rest) > 0 && rest[0] == ':' {
			minutes, rest = twoDigits(rest[1:])
		} else if n == 1 && !utc {
			return 0, nil, false
		}
	}
	if hours > 14 || uint(minutes) > 59 {
		return 0, nil, false
	}
	seconds = hours*secondsPerHour + minutes*60
	if signed[0] == '-' {
		seconds = -seconds
	}
	return seconds, rest, true
}

// isZoneName takes CET, ET, Europe/Paris, and anything in brackets or parentheses.
func isZoneName(b []byte) bool {
	n := len(b)
	if n > 2 && (b[0] == '[' && b[n-1] == ']' || b[0] == '(' && b[n-1] == ')') {
		return true
	}
	inName := func(c byte) bool { return isLetter(c) || c == '/' || c == '_' || c == '-' }
	return runLength(b, inName) == n && isLetter(b[0]) && (n > 2 || n == 2 && b[1]|0x20 == 't')
}
