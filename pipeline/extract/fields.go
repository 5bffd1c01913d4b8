package extract

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// splitPlain cuts the fields of a line that has no quote in it.
func (s *scanner) splitPlain(rec *Record, line []byte) {
	fields, count, lo := rec.fields[:0], 0, 0
	for {
		i := bytes.IndexByte(line[lo:], s.delimiter)
		hi := lo + i
		if i < 0 {
			hi = len(line)
		}
		if count < s.keep {
			fields = append(fields, span{int32(lo), int32(hi), false})
		}
		count++
		if i < 0 {
			rec.fields, rec.count = fields, count
			return
		}
		lo = hi + 1
	}
}

// quotes is how the quoting of a record turned out.
type quotes uint8

const (
	quotesClosed quotes = iota
	quoteOpen
	quoteBad
)

// splitQuoted cuts fields of which some may be quoted, with space around the quotes. A
// quote inside an unquoted field is a character like any other.
func (s *scanner) splitQuoted(rec *Record, b []byte) quotes {
	fields, count, lo := rec.fields[:0], 0, 0
	quote, delimiter := s.quote, s.delimiter
	rec.quote = quote
	for {
		field := span{lo: int32(lo)}
		var next int
		at := lo
		if at < len(b) && b[at] != quote && (b[at] <= ' ' || b[at] >= utf8.RuneSelf) {
			at = s.skipSpace(b, at)
		}
		if at < len(b) && b[at] == quote {
			hi, escaped := closingQuote(b, at+1, quote)
			if hi < 0 {
				return quoteOpen
			}
			field, next = span{int32(at + 1), int32(hi), escaped}, hi+1
			if next < len(b) && b[next] != delimiter {
				if next = s.skipSpace(b, next); next < len(b) && b[next] != delimiter {
					return quoteBad
				}
			}
		} else if i := bytes.IndexByte(b[lo:], delimiter); i >= 0 {
			next = lo + i
			field.hi = int32(next)
		} else {
			next = len(b)
			field.hi = int32(next)
		}
		if count < s.keep {
			fields = append(fields, field)
		}
		count++
		if next == len(b) {
			rec.fields, rec.count = fields, count
			return quotesClosed
		}
		lo = next + 1
	}
}

// skipSpace is the place after the space at a place.
func (s *scanner) skipSpace(b []byte, at int) int {
	for n := 1; at < len(b) && n > 0; at += n {
		n = s.space(b[at:])
	}
	return at
}

// space is the length of the space that a text starts with and that may stand around
// quotes, invisible characters included; 0: none.
func (s *scanner) space(b []byte) int {
	c, n := utf8.DecodeRune(b)
	if b[0] == s.delimiter || c == '\n' || c == '\r' || !unicode.IsSpace(c) && !unicode.Is(unicode.Cf, c) {
		return 0
	}
	return n
}

// closingQuote finds the quote that ends a field, from within it; -1: none.
func closingQuote(b []byte, from int, quote byte) (at int, escaped bool) {
	for {
		i := bytes.IndexByte(b[from:], quote)
		if i < 0 {
			return -1, escaped
		}
		from += i
		if from+1 == len(b) || b[from+1] != quote {
			return from, escaped
		}
		from, escaped = from+2, true
	}
}

// unescape takes the escapes out of a quoted field.
func (rec *Record) unescape(f span) []byte {
	from := len(rec.scratch)
	for b := rec.raw[f.lo:f.hi]; ; {
		i := bytes.IndexByte(b, rec.quote)
		if i < 0 {
			rec.scratch = append(rec.scratch, b...)
			return rec.scratch[from:]
		}
		rec.scratch = append(rec.scratch, b[:i+1]...)
		b = b[i+2:]
	}
}
