package extract

import (
	"bytes"
	"unicode/utf8"
)

// place is where a walk through quoted text stands.
type place uint8

const (
	insideQuotes place = iota
	afterQuotes
	fieldStart
	insideField
)

// memory is how far the last search for a closing quote got, when it found none. It was
// inside quotes at every line start that it crossed, and so is every later search there:
// the rest of the way is not walked again. Else each line could cost MaxRecord bytes.
type memory struct {
	known bool
	at    int64
	place place
	fault Fault
}

// closeQuote finds the end of a record whose second line starts at after, within quotes.
// The fault is there if the quoting is malformed.
func (s *scanner) closeQuote(start, after int64) (end, next int64, fault Fault) {
	at, in, limit := after, insideQuotes, start+MaxRecord
	if m := s.unclosed; m.known && after <= m.at {
		if m.fault == FaultBadQuote {
			return 0, 0, m.fault
		}
		at, in = m.at, m.place
	}
	for {
		c, ok := s.peek(at)
		bound := limit
		switch {
		case in == insideQuotes && !ok:
			fault = FaultUnclosedQuote
		case in == insideQuotes && c != s.quote:
			rest := s.at(at, s.end)
			if i := bytes.IndexByte(rest, s.quote); i >= 0 {
				rest = rest[:i]
			}
			at += int64(len(rest))
		case in == insideQuotes:
			if c, ok := s.peek(at + 1); ok && c == s.quote {
				at += 2
			} else {
				at, in = at+1, afterQuotes
			}
		case in != insideField && ok && s.spaceAt(at) > 0:
			at += s.spaceAt(at)
		case in != fieldStart && ok && c == s.delimiter:
			at, in = at+1, fieldStart
		case in == afterQuotes:
			next, ok = s.lineEnd(at, limit)
			if ok && at <= limit {
				return at, next, 0
			}
			fault = FaultUnclosedQuote
			if !ok {
				fault = FaultBadQuote
			}
		case in == fieldStart && ok && c == s.quote:
			at, in = at+1, insideQuotes
		case in == fieldStart:
			in = insideField
		case ok && c != '\n':
			at++
			bound++ // a CR may stand after the limit
		default:
			end, next = start+int64(len(bytes.TrimRight(s.at(start, at), "\r"))), min(at+1, s.end)
			if end <= limit {
				return end, next, 0
			}
			fault = FaultUnclosedQuote
		}
		if fault == 0 && at > bound {
			fault = FaultUnclosedQuote
		}
		if fault != 0 {
			s.unclosed = memory{true, at, in, fault}
			return 0, 0, fault
		}
	}
}

// lineEnd is where the next line starts if one ends at a place, also with the file.
func (s *scanner) lineEnd(at, limit int64) (next int64, ok bool) {
	c, more := s.peek(at)
	for ; more && c == '\r' && at <= limit; c, more = s.peek(at) {
		at++
	}
	if more {
		return at + 1, c == '\n'
	}
	return at, true
}

// spaceAt is the length of the space at a place.
func (s *scanner) spaceAt(at int64) int64 {
	_, _ = s.peek(at + utf8.UTFMax - 1) // so that a character is whole
	return int64(s.space(s.at(at, s.end)))
}

// peek is the byte at a place, reading more as needed.
func (s *scanner) peek(at int64) (byte, bool) {
	for at >= s.end {
		if !s.fill() {
			return 0, false
		}
	}
	return s.buf[at-s.base], true
}
