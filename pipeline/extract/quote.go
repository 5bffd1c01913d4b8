package extract

import "bytes"

// place is where a walk through quoted text stands.
type place uint8

const (
	insideQuotes place = iota
	fieldStart
	insideField
)

// memory is how far the last search for a closing quote got, when it found
// none. At every line start that it crossed it was inside quotes, and so is
// every later search that crosses the same line start: the rest of the way is
// the same, and is not walked again. Without this a file could make each of its
// lines cost a walk of MaxRecord bytes.
type memory struct {
	known bool
	at    int64
	place place
	fault Fault
}

// closeQuote finds the end of a record whose first line ends inside quotes;
// after is the start of its second line. The record's content ends at end, the
// next one starts at next. The fault is there if the quoting is malformed.
func (s *scanner) closeQuote(start, after int64) (end, next int64, fault Fault) {
	w := walk{s: s, at: after, limit: start + MaxRecord}
	if m := s.unclosed; m.known && after <= m.at {
		if m.fault == FaultBadQuote {
			return 0, 0, m.fault
		}
		w.at, w.place = m.at, m.place
	}
	for {
		done, fault := w.step()
		if fault != 0 {
			s.unclosed = memory{true, w.at, w.place, fault}
			return 0, 0, fault
		}
		if done {
			return w.end, w.at, 0
		}
	}
}

// walk steps through the fields of a record of several lines.
type walk struct {
	s     *scanner
	at    int64
	place place
	limit int64 // of the record's content
	end   int64 // of the record's content, once it is found
}

// step goes to the next turn: a quote, a delimiter or the record's end. The
// faults leave at and place where another walk can take over.
func (w *walk) step() (done bool, fault Fault) {
	switch w.place {
	case insideQuotes:
		return w.quoted()
	case fieldStart:
		c, ok := w.peek(0)
		if ok && c == '"' {
			w.at++
			w.place = insideQuotes
		} else {
			w.place = insideField
		}
		return false, w.tooFar()
	default:
		return w.unquoted()
	}
}

func (w *walk) quoted() (done bool, fault Fault) {
	for {
		c, ok := w.peek(0)
		if !ok {
			return false, FaultUnclosedQuote
		}
		if c != '"' {
			rest := w.s.at(w.at, w.s.end)
			if i := bytes.IndexByte(rest, '"'); i >= 0 {
				w.at += int64(i)
			} else {
				w.at = w.s.end
			}
			if w.at > w.limit {
				return false, FaultUnclosedQuote
			}
			continue
		}
		c, ok = w.peek(1)
		if ok && c == '"' {
			w.at += 2
			if w.at > w.limit {
				return false, FaultUnclosedQuote
			}
			continue
		}
		if ok && c == w.s.delimiter {
			w.at += 2
			w.place = fieldStart
			return false, w.tooFar()
		}
		return w.afterQuote()
	}
}

func (w *walk) unquoted() (done bool, fault Fault) {
	for {
		c, ok := w.peek(0)
		switch {
		case !ok, c == '\n':
			return w.afterField()
		case c == w.s.delimiter:
			w.at++
			w.place = fieldStart
			return false, w.tooFar()
		}
		w.at++
		if w.at > w.limit+1 { // a CR may stand after the limit
			return false, FaultUnclosedQuote
		}
	}
}

// afterQuote ends the record at the closing quote here, if a line end follows.
func (w *walk) afterQuote() (done bool, fault Fault) {
	end, next := w.at+1, w.at+1
	c, ok := w.peek(1)
	if ok && c == '\r' {
		next++
		c, ok = w.peek(2)
	}
	if ok && c != '\n' {
		return false, FaultBadQuote
	}
	if ok {
		next++
	}
	return w.finish(end, next)
}

// afterField ends the record at the line end here, or at the file's.
func (w *walk) afterField() (done bool, fault Fault) {
	end, next := w.at, w.at
	if next < w.s.end {
		next++
	}
	if w.s.at(end-1, end)[0] == '\r' {
		end--
	}
	return w.finish(end, next)
}

func (w *walk) finish(end, next int64) (done bool, fault Fault) {
	if end > w.limit {
		return false, FaultUnclosedQuote
	}
	w.end, w.at = end, next
	return true, 0
}

func (w *walk) tooFar() Fault {
	if w.at > w.limit {
		return FaultUnclosedQuote
	}
	return 0
}

// peek is the byte at an offset from here, reading more as needed.
func (w *walk) peek(offset int64) (byte, bool) {
	for w.at+offset >= w.s.end {
		if !w.s.fill() {
			return 0, false
		}
	}
	return w.s.buf[w.at+offset-w.s.base], true
}
