package extract

import (
	"bytes"
	"strings"
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

// splitQuoted cuts fields of which some may be quoted. A quote inside an
// unquoted field is a character like any other.
func (s *scanner) splitQuoted(rec *Record, b []byte) quotes {
	fields, count, lo := rec.fields[:0], 0, 0
	for {
		field := span{lo: int32(lo)}
		var next int
		if lo < len(b) && b[lo] == '"' {
			hi, escaped := closingQuote(b, lo+1)
			if hi < 0 {
				return quoteOpen
			}
			field, next = span{int32(lo + 1), int32(hi), escaped}, hi+1
			if next < len(b) && b[next] != s.delimiter {
				return quoteBad
			}
		} else if i := bytes.IndexByte(b[lo:], s.delimiter); i >= 0 {
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

// closingQuote finds the quote that ends a field, from within it; -1: none.
func closingQuote(b []byte, from int) (at int, escaped bool) {
	for {
		i := bytes.IndexByte(b[from:], '"')
		if i < 0 {
			return -1, escaped
		}
		from += i
		if from+1 == len(b) || b[from+1] != '"' {
			return from, escaped
		}
		from, escaped = from+2, true
	}
}

// unescape takes the escapes out of a quoted field.
func (rec *Record) unescape(f span) []byte {
	from := len(rec.scratch)
	for b := rec.raw[f.lo:f.hi]; ; {
		i := bytes.IndexByte(b, '"')
		if i < 0 {
			rec.scratch = append(rec.scratch, b...)
			return rec.scratch[from:]
		}
		rec.scratch = append(rec.scratch, b[:i+1]...)
		b = b[i+2:]
	}
}

// name is the i-th field of a header, trimmed, and made UTF-8 if need be.
func (rec *Record) name(i int) string {
	f := rec.fields[i]
	value := rec.raw[f.lo:f.hi]
	if f.escaped {
		value = rec.unescape(f)
	}
	return strings.ToValidUTF8(string(bytes.TrimSpace(value)), "\uFFFD")
}
