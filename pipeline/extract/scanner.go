package extract

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"unicode/utf8"
)

const (
	firstBuffer = 64 << 10
	lastBuffer  = 2*MaxRecord + 4 // a record, its line end, and room to read on
	maxEmpty    = 100             // reads without data before the source is given up
)

// scanner cuts a stream of UTF-8 text into records. It allocates nothing per
// record and holds at most lastBuffer bytes. Every byte of the stream belongs
// to exactly one record, line end or empty line.
//
// Offsets are absolute in the stream, and buf[0] is at base: the buffer's
// content moves when it is filled.
type scanner struct {
	r    io.Reader
	buf  []byte
	base int64
	pos  int64 // next byte to hand out
	end  int64 // of what was read
	err  error // of r, once it failed or ended

	delimiter byte
	keep      int   // fields to keep of a record; the others are only counted
	lines     int64 // physical lines handed out
	counts

	noQuote        int64  // no quote in [pos, noQuote)
	oddFrom, oddTo int64  // outside this span all bytes are ASCII other than NUL
	unclosed       memory // of the last quoted field that was not closed
	cut            []byte // the start of a line that is too long to be held
}

// counts are what a profile tells of a file's lines.
type counts struct {
	blanks int64 // empty lines
	crlf   int64 // line ends that are CR LF, but for those in quotes
	lf     int64 // line ends that are LF, but for those in quotes
}

func newScanner(r io.Reader) *scanner {
	return &scanner{r: r, buf: make([]byte, firstBuffer)}
}

// at is the content in [lo, hi).
func (s *scanner) at(lo, hi int64) []byte { return s.buf[lo-s.base : hi-s.base] }

// fill reads more, and reports whether there is any. s.err says why not.
func (s *scanner) fill() bool {
	if s.err != nil {
		return false
	}
	if s.end-s.base == int64(len(s.buf)) {
		s.makeRoom()
	}
	for range maxEmpty {
		free := s.buf[s.end-s.base:]
		n, err := s.r.Read(free)
		s.note(free[:n])
		s.end += int64(n)
		s.err = err
		if n > 0 || err != nil {
			return n > 0
		}
	}
	s.err = io.ErrNoProgress
	return false
}

// makeRoom drops what was handed out, or doubles the buffer if that is little.
func (s *scanner) makeRoom() {
	rest := s.at(s.pos, s.end)
	if len(rest) > len(s.buf)/2 {
		s.buf = make([]byte, min(2*len(s.buf), lastBuffer))
	}
	copy(s.buf, rest)
	s.base = s.pos
}

// note remembers where new content is anything but plain ASCII, so that most
// rows need no look for NUL bytes and broken UTF-8 of their own.
func (s *scanner) note(b []byte) {
	if plain(b) {
		return
	}
	if s.oddTo <= s.pos {
		s.oddFrom = s.end
	}
	s.oddTo = s.end + int64(len(b))
}

func plain(b []byte) bool {
	if bytes.IndexByte(b, 0) >= 0 {
		return false
	}
	for ; len(b) >= 8; b = b[8:] {
		if binary.LittleEndian.Uint64(b)&0x8080808080808080 != 0 {
			return false
		}
	}
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// next cuts the next record off. After io.EOF, or another error of the stream,
// there is none; what the error cut short is not handed out.
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
		start := s.pos
		s.lines++
		rec.Line, rec.Fault = s.lines, 0
		if stop > start {
			stop, after = s.split(rec, start, stop, after)
		}
		if rec.Fault == FaultUnclosedQuote && s.err != nil && !errors.Is(s.err, io.EOF) {
			return s.err
		}
		s.countEnd(stop, after)
		s.pos = after
		if stop == start {
			s.blanks++
			continue
		}
		s.finish(rec, start, stop)
		return nil
	}
}

// ready is next for nearly every record there is: of one line, which is in the
// buffer, has no fault and is not empty. It leaves all others as they were.
func (s *scanner) ready(rec *Record) bool {
	rest := s.at(s.pos, s.end)
	i := bytes.IndexByte(rest, '\n')
	if i <= 0 || i > MaxRecord {
		return false
	}
	line := rest[:i]
	if line[i-1] == '\r' {
		line = line[:i-1]
	}
	stop := s.pos + int64(len(line))
	if s.pos < s.oddTo && stop > s.oddFrom || len(line) == 0 {
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
	rec.Line, rec.Fault = s.lines, 0
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
	stop = s.trimReturn(stop)
	if stop-s.pos > MaxRecord {
		return 0, 0, s.skipLine(rec)
	}
	return stop, after, nil
}

// trimReturn takes the CR off a line end, also where the file ends after it.
func (s *scanner) trimReturn(stop int64) int64 {
	if stop > s.pos && s.at(stop-1, stop)[0] == '\r' {
		return stop - 1
	}
	return stop
}

// countEnd counts the line end between a record's content and the next record.
// A CR that the file ends with is neither.
func (s *scanner) countEnd(stop, after int64) {
	if after == stop || s.at(after-1, after)[0] != '\n' {
		return
	}
	if after-stop == 2 {
		s.crlf++
	} else {
		s.lf++
	}
}

// skipLine hands the line at pos out as too long, and goes on to the next one
// in bounded memory. Of the line only its first MaxRaw bytes are kept.
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

// finish fills in what all records have, and looks for bytes that are no text.
func (s *scanner) finish(rec *Record, start, stop int64) {
	rec.raw = s.at(start, stop)
	rec.Length = stop - start
	if rec.Fault == 0 && start < s.oddTo && stop > s.oddFrom {
		if bytes.IndexByte(rec.raw, 0) >= 0 {
			rec.Fault = FaultNulByte
		} else if !utf8.Valid(rec.raw) {
			rec.Fault = FaultInvalidUTF8
		}
	}
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
	from := max(start, s.noQuote)
	s.noQuote = s.end
	if i := bytes.IndexByte(s.at(from, s.end), '"'); i >= 0 {
		s.noQuote = from + int64(i)
	}
	return s.noQuote < stop
}

// peekLine is the first line that is not empty, or the start of it if it is too
// long, without handing it out.
func (s *scanner) peekLine() ([]byte, error) {
	from := s.pos
	for {
		rest := s.at(from, s.end)
		trimmed := bytes.TrimLeft(rest, "\r\n")
		from += int64(len(rest) - len(trimmed))
		if i := bytes.IndexByte(trimmed, '\n'); i >= 0 {
			return bytes.TrimSuffix(trimmed[:i], []byte{'\r'}), nil
		}
		if len(trimmed) > MaxRecord {
			return trimmed, nil
		}
		if !s.fill() {
			if errors.Is(s.err, io.EOF) && len(trimmed) > 0 {
				return bytes.TrimSuffix(trimmed, []byte{'\r'}), nil
			}
			return nil, s.err
		}
	}
}
