package transform

import (
	"bytes"
	_ "embed"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/currency"
)

// maxMark is the length of the longest currency mark in bytes.
const maxMark = 10

// markAtStart is the length of the currency mark that b starts with, or 0. The longest
// mark counts, so US$ is not followed by another one.
func markAtStart(b []byte) int {
	for n := min(len(b)-len(bytes.TrimLeftFunc(b, inMark)), maxMark); n > 0; n-- {
		if !withinWord(b, n) && isMark(b[:n]) {
			return n
		}
	}
	return 0
}

// markAtEnd is the length of the currency mark that b ends with, or 0. A letter by itself
// is none there: behind an amount it says something else.
func markAtEnd(b []byte) int {
	for n := min(len(b)-len(bytes.TrimRightFunc(b, inMark)), maxMark); n > 0; n-- {
		at := len(b) - n
		if !withinWord(b, at) && isMark(b[at:]) && (n > 1 || b[at] == '$') {
			return n
		}
	}
	return 0
}

func inMark(r rune) bool {
	return unicode.IsLetter(r) || r == '.' || r == '/' || unicode.Is(unicode.Sc, r)
}

// withinWord reports whether there are letters on both sides of a place.
func withinWord(b []byte, at int) bool {
	before, _ := utf8.DecodeLastRune(b[:at])
	behind, _ := utf8.DecodeRune(b[at:])
	return unicode.IsLetter(before) && unicode.IsLetter(behind)
}

// isMark takes codes of ISO 4217 in any case, the symbols that are known, and any other
// currency symbol of Unicode but those of a currency's parts: 50¢ is half of something.
func isMark(b []byte) bool {
	if symbolCurrencies(b) != nil {
		return len(b) > 1 || b[0] != 'r' // the rand is a capital
	}
	if len(b) == 3 && runLength(b, isLetter) == 3 {
		return isCode(string(b))
	}
	r, n := utf8.DecodeRune(b)
	return n == len(b) && unicode.Is(unicode.Sc, r) && r != '¢' && r != '￠' && r != '₥' && r != '₰'
}

// isCode takes a code of ISO 4217, other than XXX and XTS, which stand for no currency.
func isCode(code string) bool {
	unit, err := currency.ParseISO(code)
	return err == nil && unit != currency.XXX && unit != currency.XTS ||
		slices.Equal(symbols()[strings.ToLower(code)], Currencies{strings.ToUpper(code)})
}

// symbolText has a line for each currency with symbols, or with a code since 2017: the
// code of ISO 4217, and the symbols by themselves.
//
//go:embed symbols.txt
var symbolText string

// symbols are the currencies of each code and symbol in symbolText, in small letters.
var symbols = sync.OnceValue(func() map[string]Currencies {
	all := map[string]Currencies{}
	for line := range strings.Lines(symbolText) {
		marks := strings.Fields(line)
		for _, mark := range marks {
			mark = strings.ToLower(mark)
			all[mark] = append(all[mark], marks[0])
		}
	}
	return all
})

// symbolCurrencies are the currencies that a symbol stands for, sorted; nil: it is not
// known. Case and width do not count.
func symbolCurrencies(mark []byte) Currencies {
	var room [2 * maxMark]byte // so that nothing is allocated
	lower := room[:0]
	for _, r := range string(mark) {
		switch r {
		case '＄', '﹩':
			r = '$'
		case '￡':
			r = '£'
		case '￥':
			r = '¥'
		case '￦':
			r = '₩'
		}
		lower = utf8.AppendRune(lower, unicode.ToLower(r))
	}
	return symbols()[string(lower)]
}
