package extract

import (
	"bytes"
	"errors"
	"io"
	"math"
)

// scanner cuts a stream of UTF-8 text into records. It allocates nothing per record and
// holds at most lastBuffer bytes. Offsets are absolute in the stream, and buf[0] is at
// base: the buffer's content moves when it is filled.
type scanner struct {
	r    io.Reader
	buf  []byte
	base int64
	pos  int64 // next byte to hand out
	end  int64 // of the text
	read int64 // end of what was read: more than the text by what may be the file's end
	long bool  // the text ends with a marker that was too long to be kept back
	err  error // of r, once it failed or ended

	delimiter byte
	quote     byte  // 0: none
	keep      int   // fields to keep of a record; the others are only counted
	cr        bool  // r has LF for CR
	lines     int64 // physical lines handed out
	counts

	noQuote        int64  // no quote in [pos, noQuote)
	oddFrom, oddTo int64  // outside this span all bytes are ASCII other than NUL
	unclosed       memory // of the last quoted field that was not closed
	cut            []byte // the start of a line that is too long to be held
}

// counts are what a profile tells of a file's lines.
type counts struct {
	blanks  int64 // empty lines
	headers int64 // that were repeated
	crlf    int64 // line ends that are CR LF, but for those in quotes
	lf      int64 // line ends that are LF, but for those in quotes
}

func newScanner(r io.Reader) *scanner {
	return &scanner{r: r, buf: make([]byte, firstBuffer)}
}

// ofText is a scanner of text that is at hand.
func (s *scanner) ofText(text []byte) *scanner {
	own := &scanner{err: io.EOF, delimiter: s.delimiter, quote: s.quote, keep: s.keep}
	own.start(text, 0)
	return own
}

// start goes on with other text, before which there are some lines.
func (s *scanner) start(text []byte, lines int64) {
	s.counts, s.lines = counts{}, lines
	s.base, s.pos, s.end = 0, 0, 0
	s.noQuote, s.oddFrom, s.oddTo, s.unclosed = 0, 0, 0, memory{}
	s.note(text)
	s.buf, s.end = text, int64(len(text))
}

// next cuts the next record off. What an error of the stream cut short is none.
func (s *scanner) next(rec *Record) error {
	if s.ready(rec) {
		return nil
	}
	for {
		stop, after, err := s.findLine(rec)
		if err != nil {
			return err
		}
		if rec.Fault == FaultRowTooLong {
			return nil
		}
		start := s.skipMarks(stop)
		s.lines++
		rec.Line, rec.Fault = s.lines, 0
		empty := s.empty(s.at(start, stop))
		if !empty {
			stop, after = s.split(rec, start, stop, after)
		}
		if rec.Fault == FaultUnclosedQuote && s.err != nil && !errors.Is(s.err, io.EOF) {
			return s.err
		}
		s.countEnd(stop, after)
		s.pos = after
		if empty {
			s.blanks++
			continue
		}
		rec.raw, rec.Length = s.at(start, stop), stop-start
		rec.odd = start < s.oddTo && stop > s.oddFrom
		return nil
	}
}

// skipMarks is where a line starts after byte order marks, which joined files have.
func (s *scanner) skipMarks(stop int64) int64 {
	start := s.pos
	for bytes.HasPrefix(s.at(start, stop), []byte(byteOrderMark)) {
		start += int64(len(byteOrderMark))
	}
	return start
}

// empty reports whether a line holds only delimiters and space.
func (s *scanner) empty(line []byte) bool {
	for _, c := range line {
		if c != s.delimiter && c != ' ' && (c < '\t' || c > '\r') {
			return false
		}
	}
	return true
}

// ready is next for nearly all records: of one line, which is in the buffer, has no fault
// and is not empty. It leaves all others as they were.
func (s *scanner) ready(rec *Record) bool {
	rest := s.at(s.pos, s.end)
	i := bytes.IndexByte(rest, '\n')
	if i <= 0 || i > MaxRecord {
		return false
	}
	line := rest[:i]
	for len(line) > 0 && line[len(line)-1] == '\r' {
		line = line[:len(line)-1]
	}
	stop := s.pos + int64(len(line))
	if s.pos < s.oddTo && stop > s.oddFrom || len(line) == 0 {
		return false
	}
	if c := line[0]; (c <= ' ' || c == s.delimiter) && s.empty(line) {
		return false
	}
	if !s.quoted(s.pos, stop) {
		s.splitPlain(rec, line)
	} else if s.splitQuoted(rec, line) != quotesClosed {
		return false
	}
	after := s.pos + int64(i) + 1
	s.countEnd(stop, after)
	s.lines++
	rec.Line, rec.Fault, rec.odd = s.lines, 0, false
	rec.raw, rec.Length = line, int64(len(line))
	s.pos = after
	return true
}

// findLine finds the end of the physical line at pos: its content ends at stop,
// the next line starts at after. A line that is too long is handed out in rec.
func (s *scanner) findLine(rec *Record) (stop, after int64, err error) {
	rec.Fault = 0
	for seen := s.pos; ; {
		if i := bytes.IndexByte(s.at(seen, s.end), '\n'); i >= 0 {
			stop, after = seen+int64(i), seen+int64(i)+1
			break
		}
		if s.end-s.pos > MaxRecord+1 {
			return 0, 0, s.skipLine(rec)
		}
		seen = s.end
		if s.fill() {
			continue
		}
		if !errors.Is(s.err, io.EOF) || s.pos == s.end {
			return 0, 0, s.err
		}
		stop, after = s.end, s.end
		break
	}
	if stop-s.pos > MaxRecord+1 || stop-s.pos > MaxRecord && s.at(stop-1, stop)[0] != '\r' {
		return 0, 0, s.skipLine(rec)
	}
	return s.trimReturns(stop), after, nil
}

// trimReturns takes CR off a line end, also where the file ends after it: there are two
// where LF became CR LF twice.
func (s *scanner) trimReturns(stop int64) int64 {
	return s.pos + int64(len(bytes.TrimRight(s.at(s.pos, stop), "\r")))
}

// countEnd counts the line end behind a record. A CR that the file ends with is none.
func (s *scanner) countEnd(stop, after int64) {
	if after == stop || s.at(after-1, after)[0] != '\n' {
		return
	}
	if after-stop > 1 {
		s.crlf++
	} else {
		s.lf++
	}
}

// skipLine hands the line at pos out as too long, of which MaxRaw bytes are kept.
func (s *scanner) skipLine(rec *Record) error {
	start := s.pos
	s.cut = append(s.cut[:0], s.at(start, start+MaxRaw+1)...)
	var last byte
	for {
		i := bytes.IndexByte(s.at(s.pos, s.end), '\n')
		stop := s.end
		if i >= 0 {
			stop = s.pos + int64(i)
		}
		if stop > s.pos {
			last = s.at(stop-1, stop)[0]
		}
		s.pos = stop
		if i >= 0 || !s.fill() {
			break
		}
	}
	rec.Length = s.pos - start
	if last == '\r' {
		rec.Length--
	}
	if s.pos < s.end {
		s.pos++
		s.countEnd(start+rec.Length, s.pos)
	} else if !errors.Is(s.err, io.EOF) {
		return s.err
	}
	s.lines++
	rec.Line, rec.raw, rec.Fault = s.lines, s.cut, FaultRowTooLong
	rec.fields, rec.count = rec.fields[:0], 0
	return nil
}

// split cuts the record at start into fields. It returns where the record ends,
// which is further than its first line if a quoted field goes on.
func (s *scanner) split(rec *Record, start, stop, after int64) (recordStop, recordAfter int64) {
	line := s.at(start, stop)
	rec.fields, rec.count = rec.fields[:0], 0 // where the quoting is malformed
	if !s.quoted(start, stop) {
		s.splitPlain(rec, line)
		return stop, after
	}
	switch s.splitQuoted(rec, line) {
	case quotesClosed:
		return stop, after
	case quoteBad:
		rec.Fault = FaultBadQuote
		return stop, after
	}
	end, next, fault := s.closeQuote(start, after)
	if fault != 0 {
		rec.Fault = fault
		return stop, after
	}
	content := s.at(start, end)
	s.lines += int64(bytes.Count(s.at(after, end), []byte{'\n'})) + 1
	s.splitQuoted(rec, content)
	return end, next
}

// quoted reports whether there is a quote in [start, stop).
func (s *scanner) quoted(start, stop int64) bool {
	if stop <= s.noQuote {
		return false
	}
	if s.quote == 0 {
		s.noQuote = math.MaxInt64
		return false
	}
	from := max(start, s.noQuote)
	s.noQuote = s.end
	if i := bytes.IndexByte(s.at(from, s.end), s.quote); i >= 0 {
		s.noQuote = from + int64(i)
	}
	return s.noQuote < stop
}
