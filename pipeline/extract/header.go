package extract

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

const (
	searched  = 100       // lines in which the header is searched for
	maxHeader = 16 << 10  // bytes of a header over several lines
	window    = 256 << 10 // bytes of the records that are looked at first
)

// open prepares the reading of a file from its start, and gives the delimiters that come
// into question.
func (s *scanner) open(dialect Dialect, path string) (string, error) {
	err := dialect.Check()
	if err != nil {
		return "", fmt.Errorf("dialect: %w", err)
	}
	delimiter, _ := dialect.delimiter() // as checked
	s.quote, _ = dialect.quote()
	s.keep = MaxRecord
	s.settleLineEnds(path)
	if c := s.separator(); delimiter == 0 {
		delimiter = c
	}
	if delimiter != 0 {
		return string(delimiter), nil
	}
	return strings.ReplaceAll(delimiters, string(s.quote), ""), nil
}

// separator takes a first line such as sep=; off, which spreadsheets write, and gives
// what it names; 0: there is none.
func (s *scanner) separator() byte {
	after, ok := s.line(s.pos)
	if !ok {
		return 0
	}
	line := bytes.TrimRight(bytes.TrimPrefix(s.at(s.pos, after), []byte(byteOrderMark)), "\r\n")
	if len(line) > 2 && line[0] == '"' && line[len(line)-1] == '"' {
		line = line[1 : len(line)-1]
	}
	if len(line) != 5 || !bytes.EqualFold(line[:4], []byte("sep=")) || !separates(line[4]) || line[4] == s.quote ||
		unicode.IsLetter(rune(line[4])) || unicode.IsDigit(rune(line[4])) {
		return 0
	}
	s.skipLines(after)
	return line[4]
}

// line finds the end of the physical line at a place, in the buffer.
func (s *scanner) line(from int64) (after int64, ok bool) {
	for seen := from; ; {
		if i := bytes.IndexByte(s.at(seen, s.end), '\n'); i >= 0 {
			return seen + int64(i) + 1, true
		}
		seen = s.end
		if s.ahead(from, seen-from+1); s.end == seen {
			return s.end, s.end > from && errors.Is(s.err, io.EOF)
		}
	}
}

// skipLines goes on at the start of a later line, and counts those before that are not
// empty.
func (s *scanner) skipLines(to int64) (skipped int64) {
	for s.pos < to {
		after, _ := s.line(s.pos)
		stop := after
		if s.at(after-1, after)[0] == '\n' {
			stop = s.trimReturns(after - 1)
		}
		if s.empty(s.at(s.skipMarks(stop), stop)) {
			s.blanks++
		} else {
			skipped++
		}
		s.countEnd(stop, after)
		s.lines++
		s.pos = after
	}
	return skipped
}

// guess is a line taken for the header.
type guess struct {
	line      int64
	delimiter byte
	names     []string
	found     int // columns
	fault     Fault
	mentions  bool // it names all columns, and has a fault
	whole     bool // it is one quoted field, in which all columns are
}

// better reports whether more speaks for a guess than for an earlier one: columns that
// are found, then fields.
func (g *guess) better(than *guess) bool {
	return g.found > than.found || g.found == than.found && len(g.names) > len(than.names) || than.line == 0
}

// findHeader finds the first line that has all columns, under one of the delimiters.
func (r *Reader) findHeader(delimiters string) error {
	s, from := r.scan, r.scan.pos
	var best, refused guess
	for line := s.lines + 1; line <= searched; line++ {
		after, ok := s.line(from)
		if !ok {
			break
		}
		for _, delimiter := range []byte(delimiters) {
			g, ok := r.guess(from, after, delimiter)
			if g.line = line; ok && g.found == len(r.columns) {
				s.delimiter = delimiter
				r.skipped = s.skipLines(from)
				return r.readHeader()
			}
			if ok && g.better(&best) {
				best = g
			}
			if ok && refused.line == 0 && (g.whole || g.mentions) {
				refused = g
			}
		}
		from = after
	}
	if s.err != nil && !errors.Is(s.err, io.EOF) {
		return fmt.Errorf("read header: %w", s.err)
	}
	if best.line == 0 && s.end-from > MaxRecord {
		return badHeader(s.lines+1, FaultRowTooLong)
	}
	return r.noHeader(&best, &refused)
}

// guess splits the line at a place, or the record that starts with it if it ends within
// quotes. It is not ok if there is none.
func (r *Reader) guess(from, after int64, delimiter byte) (g guess, ok bool) {
	s := r.scan
	s.delimiter = delimiter
	var rec Record
	if s.ofText(s.at(from, after)).next(&rec) != nil {
		return g, false
	}
	if rec.Fault == FaultUnclosedQuote {
		s.ahead(from, maxHeader)
		_ = s.ofText(s.at(from, min(from+maxHeader, s.end))).next(&rec) // there is one
	}
	g.delimiter, g.names, g.fault = delimiter, rec.names(), rec.Fault
	_, g.found = r.find(g.names)
	g.mentions = rec.Fault != 0 && r.mentions(rec.Raw())
	if rec.Fault == 0 && rec.count == 1 && rec.fields[0].lo > 0 {
		g.whole = r.mentions(rec.Raw()) && r.inField(g.names[0])
	}
	return g, true
}

// mentions reports whether a text names all columns, whatever else it has.
func (r *Reader) mentions(text []byte) bool {
	folded := fold(string(text))
	return !slices.ContainsFunc(r.wanted, func(name string) bool { return !strings.Contains(folded, name) })
}

// inField reports whether a text has all columns when it is split itself.
func (r *Reader) inField(text string) bool {
	for _, delimiter := range []byte(delimiters) {
		s := r.scan.ofText([]byte(text))
		s.delimiter = delimiter
		var rec Record
		_ = s.next(&rec) // without one there are no names
		if _, found := r.find(rec.names()); found == len(r.columns) {
			return true
		}
	}
	return false
}

// readHeader reads the header, which is the next record.
func (r *Reader) readHeader() error {
	rec := &r.record
	if err := r.scan.next(rec); err != nil {
		return fmt.Errorf("read header: %w", err)
	}
	if rec.Fault != 0 {
		return badHeader(rec.Line, rec.Fault)
	}
	r.names = rec.names()
	r.scan.keep = len(r.names)
	if err := bareReturn(rec.Line, string(rec.raw)); err != nil {
		return err
	}
	for i, name := range r.names {
		if strings.TrimSpace(name) != "" {
			r.required = i + 1
		}
	}
	return r.findColumns()
}

// findColumns finds the places of the columns, of which the header has each.
func (r *Reader) findColumns() error {
	rec := &r.record
	places, found := r.find(r.names)
	if found < len(r.columns) { // it had them up to where its search ended
		return badHeader(rec.Line, FaultUnclosedQuote)
	}
	var repeated []string
	for c, p := range places {
		if len(p) > 1 {
			repeated = append(repeated, r.columns[c].Name)
		}
		f := rec.fields[p[0]]
		rec.place = append(rec.place, p[0])
		r.header = append(r.header, bytes.Clone(rec.raw[f.lo:f.hi]))
	}
	if repeated != nil {
		return &FileError{Line: rec.Line, Code: CodeRepeatedColumn, Column: strings.Join(repeated, ", "),
			Detail: "the header names it more than once", Hint: "rename all but one"}
	}
	return nil
}

// find finds the places of each column among some names, and counts the columns found.
func (r *Reader) find(names []string) (places [][]int, found int) {
	places = make([][]int, len(r.wanted))
	for i, name := range names {
		name = fold(name)
		for c, wanted := range r.wanted {
			if name == wanted {
				places[c] = append(places[c], i)
			}
		}
	}
	for _, p := range places {
		found += min(len(p), 1)
	}
	return places, found
}

// fold makes names alike that differ in case, in space, _ and -, or in what is invisible.
func fold(name string) string {
	name = strings.Map(func(c rune) rune {
		if unicode.Is(unicode.Cf, c) || c == '\r' {
			return -1
		}
		return unicode.ToLower(unicode.ToUpper(c))
	}, norm.NFC.String(name))
	return strings.Map(func(c rune) rune {
		if c == '_' || c == '-' || unicode.IsSpace(c) {
			return ' '
		}
		return c
	}, strings.TrimSpace(name))
}

// findPositions takes the columns for positions in a file without a header.
func (r *Reader) findPositions(delimiters string) error {
	s, need := r.scan, 1
	for _, c := range r.columns {
		at, err := strconv.Atoi(strings.TrimSpace(c.Header))
		if err != nil || at < 1 {
			return &FileError{Code: CodeMissingColumn, Column: c.Name, Detail: fmt.Sprintf("%q is no position", c.Header),
				Hint: "with header: none, the setting columns names positions, the first is 1, such as " + positions(r.columns)}
		}
		need = max(need, at)
		r.record.place = append(r.record.place, at-1)
	}
	delimiter, rows := s.consistent(delimiters, need)
	s.delimiter = delimiter
	if s.err != nil && !errors.Is(s.err, io.EOF) {
		return fmt.Errorf("read the first record: %w", s.err)
	}
	if len(rows) == 0 {
		return &FileError{Code: CodeEmptyFile, Detail: "there is no row"}
	}
	s.keep, r.required = len(rows[0]), len(rows[0])
	for i, place := range r.record.place {
		if place >= s.keep {
			return &FileError{Code: CodeMissingColumn, Column: r.columns[i].Name, Hint: "correct the setting columns, or set delimiter",
				Detail: fmt.Sprintf("its position is %d, and the first row has %d fields at %q", place+1, s.keep, delimiter)}
		}
	}
	for i := range s.keep {
		r.names = append(r.names, strconv.Itoa(i+1))
	}
	return nil
}
