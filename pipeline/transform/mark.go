package transform

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/currency"
)

// maxMark is the length of the longest currency mark in bytes.
const maxMark = 10

// markAtStart is the length of the currency mark that b starts with, or 0. The longest
// mark counts, so US$ is not followed by another one.
func markAtStart(b []byte) int {
	end := 0
	for end < len(b) && end < maxMark {
		r, n := utf8.DecodeRune(b[end:])
		if !inMark(r) {
			break
		}
		end += n
	}
	for n := end; n > 0; n-- {
		if inWord := letterAtEnd(b[:n]) && letterAtStart(b[n:]); !inWord && isMark(b[:n]) {
			return n
		}
	}
	return 0
}

// markAtEnd is the length of the currency mark that b ends with, or 0. A letter by itself
// is none there: behind an amount it says something else.
func markAtEnd(b []byte) int {
	start := len(b)
	for start > 0 && len(b)-start < maxMark {
		r, n := utf8.DecodeLastRune(b[:start])
		if !inMark(r) {
			break
		}
		start -= n
	}
	for ; start < len(b); start++ {
		mark := b[start:]
		if inWord := letterAtStart(mark) && (len(mark) == 1 || letterAtEnd(b[:start])); !inWord && isMark(mark) {
			return len(mark)
		}
	}
	return 0
}

func inMark(r rune) bool {
	return unicode.IsLetter(r) || r == '.' || r == '/' || unicode.Is(unicode.Sc, r)
}

func letterAtStart(b []byte) bool {
	r, _ := utf8.DecodeRune(b)
	return unicode.IsLetter(r)
}

func letterAtEnd(b []byte) bool {
	r, _ := utf8.DecodeLastRune(b)
	return unicode.IsLetter(r)
}

// isMark takes codes of ISO 4217 in any case, the symbols that are known, and any other
// currency symbol of Unicode but those of a currency's parts: 50¢ is half of something.
func isMark(b []byte) bool {
	if len(b) == 3 && isLetters(b) && isCode(string(b)) {
		return true
	}
	if symbolCodes(b) != "" {
		return len(b) > 1 || b[0] != 'r' // the rand is a capital
	}
	r, n := utf8.DecodeRune(b)
	return n == len(b) && unicode.Is(unicode.Sc, r) && r != '¢' && r != '￠' && r != '₥' && r != '₰'
}

func isLetters(b []byte) bool {
	for _, c := range b {
		if c |= 0x20; c < 'a' || c > 'z' {
			return false
		}
	}
	return true
}

// isCode takes a code of ISO 4217, other than XXX and XTS, which stand for no currency.
func isCode(code string) bool {
	unit, err := currency.ParseISO(code)
	return err == nil && unit != currency.XXX && unit != currency.XTS || isNewCode(code)
}
