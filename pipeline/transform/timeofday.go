package transform

import (
	"bytes"
	"time"
	"unicode"

	"github.com/opentax/tally/internal/civil"
)

const secondsPerHour = 60 * 60

// timeOfDay is what a date's time of day says.
type timeOfDay struct {
	seconds   int // since midnight
	offset    int // seconds east of UTC
	hasOffset bool
}

// dateIn is the date that a zone has at the time on a date.
func (t timeOfDay) dateIn(zone *time.Location, d civil.Date) civil.Date {
	return civil.Of(d.Time().Add(time.Duration(t.seconds-t.offset) * time.Second).In(zone))
}

// cutTime cuts the time of day off, if there is one: it follows a T, spaces, or a comma
// and spaces.
func cutTime(b []byte) (date []byte, t timeOfDay, ok bool) {
	colon := bytes.IndexByte(b, ':')
	if colon < 0 {
		return b, t, true
	}
	from := colon
	for from > 0 && colon-from < 2 && isDigit(b[from-1]) {
		from--
	}
	if t, ok = parseTime(b[from:]); !ok {
		return nil, t, false
	}
	before := b[:from]
	if n := len(before); n >= 2 && before[n-1]|0x20 == 't' && isDigit(before[n-2]) {
		return before[:n-1], t, true
	}
	date = bytes.TrimRight(before, " ")
	return bytes.TrimSuffix(date, []byte{','}), t, len(date) < len(before)
}

// parseTime reads HH:MM[:SS[.fraction]] with what may follow: AM or PM, and an offset
// from UTC. There are no leap seconds, and no 24:00.
func parseTime(b []byte) (t timeOfDay, ok bool) {
	hour, b := leadingNumber(b)
	if hour < 0 || len(b) == 0 || b[0] != ':' {
		return t, false
	}
	minute, b := twoDigits(b[1:])
	second := 0
	if len(b) > 0 && b[0] == ':' {
		second, b = twoDigits(b[1:])
		b = withoutFraction(b)
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
	if len(b) == 0 {
		return t, true
	}
	t.hasOffset = true
	t.offset, ok = parseOffset(b)
	return t, ok
}

// leadingNumber reads one or two digits; -1: there are none.
func leadingNumber(b []byte) (n int, rest []byte) {
	length := min(runLength(b, isDigit), 2)
	if length == 0 {
		return -1, b
	}
	return number(b[:length]), b[length:]
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
	var lower [4]byte
	for i, c := range b[:min(len(b), len(lower))] {
		lower[i] = c | 0x20
	}
	switch {
	case len(b) >= 4 && b[1] == '.' && b[3] == '.' && lower[2] == 'm':
		n = 4
	case len(b) >= 2 && lower[1] == 'm':
		n = 2
	}
	if n == 0 || lower[0] != 'a' && lower[0] != 'p' {
		return 0, false
	}
	return n, lower[0] == 'p'
}

// parseOffset reads Z, UTC, GMT, ±HH, ±HHMM or ±HH:MM, in seconds east of UTC.
func parseOffset(b []byte) (seconds int, ok bool) {
	switch string(b) {
	case "Z", "z", "UTC", "GMT":
		return 0, true
	}
	if signLength(b) == 0 {
		return 0, false
	}
	hours, rest := leadingNumber(b[1:])
	if len(rest) > 0 && rest[0] == ':' && len(rest) != 3 {
		return 0, false
	}
	minutes := 0
	if rest = bytes.TrimPrefix(rest, []byte{':'}); len(rest) > 0 {
		minutes, rest = twoDigits(rest)
	}
	if len(b) < 3 || !isDigit(b[2]) || len(rest) > 0 || uint(hours) > 14 || uint(minutes) > 59 {
		return 0, false
	}
	seconds = hours*secondsPerHour + minutes*60
	if b[0] == '-' {
		seconds = -seconds
	}
	return seconds, true
}

// withPlainSpaces makes every space the one of ASCII.
func withPlainSpaces(b []byte) []byte {
	if isASCII(b) {
		return b
	}
	return bytes.Map(func(r rune) rune {
		if unicode.Is(unicode.Zs, r) {
			return ' '
		}
		return r
	}, b)
}
