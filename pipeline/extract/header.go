package extract

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

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
	raw       string
	names     []string
	found     int    // columns
	err       error  // its fault, if it has one
	remedy    string // the setting under which it has all columns
}

// findHeader finds the first line that has all columns, under one of the delimiters. If
// there is none, a line that names them all explains why better than the best guess.
func (r *Reader) findHeader(delimiters string) error {
	s, from := r.scan, r.scan.pos
	var best, near guess
	line, more := s.lines+1, true
	for ; line <= searched; line++ {
		after, ok := s.line(from)
		if more = ok; !ok {
			break
		}
		for _, delimiter := range []byte(delimiters) {
			g, ok := r.guess(line, from, after, delimiter)
			if ok && g.found == len(r.columns) {
				s.delimiter = delimiter
				r.skipped = s.skipLines(from)
				return r.readHeader()
			}
			if ok && (best.line == 0 || cmp.Or(cmp.Compare(g.found, best.found), cmp.Compare(len(g.names), len(best.names))) > 0) {
				best = g
			}
			if ok && near.line == 0 && r.explains(&g) {
				near = g
			}
		}
		from = after
	}
	switch {
	case s.err != nil && !errors.Is(s.err, io.EOF):
		return fmt.Errorf("read header: %w", s.err)
	case best.line == 0 && s.end-from > MaxRecord:
		return badHeader(s.lines+1, FaultRowTooLong)
	case near.line > 0:
		best = near
	}
	return r.noHeader(&best, more)
}

// guess splits the line at a place, or the record that starts with it if it ends within
// quotes. It is not ok if there is none.
func (r *Reader) guess(line, from, after int64, delimiter byte) (g guess, ok bool) {
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
	g = guess{line: line, delimiter: delimiter, raw: string(rec.Raw()), names: trimmed(rec.cells())}
	if rec.Fault != 0 {
		g.err = badHeader(line, rec.Fault)
	}
	_, g.found = r.find(g.names)
	return g, true
}

// explains reports whether a line names all columns, and notes why they are not found.
func (r *Reader) explains(g *guess) bool {
	text := fold(g.raw)
	if len(g.raw) > maxHeader || slices.ContainsFunc(r.wanted, func(name string) bool { return !strings.Contains(text, name) }) {
		return false
	}
	unquoted := strings.Split(strings.ReplaceAll(strings.Join(g.names, "\n"), "'", ""), "\n")
	switch _, found := r.find(unquoted); {
	case g.err != nil:
	case len(g.names) == 1 && r.scan.quote != 0 && strings.HasPrefix(strings.TrimSpace(g.raw), string(r.scan.quote)):
		if r.splits(g.names[0]) != 0 {
			g.err = wholeLines(g.line)
		}
	case found == len(r.columns):
		g.remedy = `set quote: "'"`
	default:
		if c := r.splits(g.raw); c > 0 && c == r.scan.quote {
			g.remedy = fmt.Sprintf("set quote: %q is set, and separates the names", c)
		} else if c > 0 {
			g.remedy = fmt.Sprintf("set delimiter: %q", c)
		}
	}
	return g.err != nil || g.remedy != ""
}

// splits is the delimiter under which a text has all columns; 0: there is none.
func (r *Reader) splits(text string) byte {
	s := *r.scan
	var tried [utf8.RuneSelf]bool
	for _, c := range []byte(text) {
		if !separates(c) || tried[c] || c == '"' || unicode.IsLetter(rune(c)) || unicode.IsDigit(rune(c)) {
			continue
		}
		tried[c], s.delimiter = true, c
		if s.quote == c {
			s.quote = 0
		}
		_, found := r.find(s.cells([]byte(text)))
		if s.quote = r.scan.quote; found == len(r.columns) {
			return c
		}
	}
	return 0
}

// readHeader reads the header, which is the next record, and looks at the first rows.
func (r *Reader) readHeader() error {
	rec, s := &r.record, r.scan
	if err := s.next(rec); err != nil {
		return fmt.Errorf("read header: %w", err)
	}
	r.names, r.line, r.header = trimmed(rec.cells()), rec.Line, bytes.Clone(rec.raw)
	if rec.Fault != 0 {
		return badHeader(rec.Line, rec.Fault)
	}
	if bareReturn(string(rec.raw)) {
		return badLineEnds(rec.Line)
	}
	for i, name := range r.names {
		if name != "" {
			r.required = i + 1
		}
	}
	if err := r.findColumns(); err != nil {
		return err
	}
	s.keep, r.named = len(r.names), r.required
	r.settleLimit()
	if after, ok := s.line(s.pos); ok && len(s.cells(s.at(s.pos, after))) == 1 && s.whole(s.sample(sampled), r.required) {
		return wholeLines(rec.Line + 1)
	}
	return nil
}

// findColumns finds the places of the columns, of which the header has each.
func (r *Reader) findColumns() error {
	places, found := r.find(r.names)
	if found < len(r.columns) { // it had them up to where its search ended
		return badHeader(r.line, FaultUnclosedQuote)
	}
	var repeated []string
	for c, p := range places {
		if len(p) > 1 {
			repeated = append(repeated, r.columns[c].Name)
		}
		r.record.place = append(r.record.place, p[0])
		r.required = max(r.required, p[0]+1) // a setting may name a blank name
	}
	if repeated != nil {
		return &FileError{Line: r.line, Code: CodeRepeatedColumn, Column: strings.Join(repeated, ", "),
			Detail: "the header names it more than once", Hint: "rename all but one"}
	}
	return nil
}

// settleLimit settles how many fields a row may have. Blank ones at the end are ignored,
// but if the last column is not used, a comma within an amount adds one too: 5,50, would be
// read as 5. Such a row may have no more fields than most of the first rows have.
func (r *Reader) settleLimit() {
	r.last = r.record.place[len(r.record.place)-1]
	r.limit = math.MaxInt
	if r.scan.delimiter != ',' || slices.Contains(r.record.place, r.named-1) {
		return
	}
	widths := []int{0}
	for _, row := range r.scan.sample(sampled) {
		widths = append(widths, len(row))
	}
	slices.Sort(widths)
	r.limit = max(len(r.names), widths[len(widths)/2])
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

// trimmed are the names in a header as they are shown: UTF-8, and without space around.
func trimmed(names []string) []string {
	for i, name := range names {
		names[i] = strings.ToValidUTF8(strings.TrimSpace(name), "\uFFFD")
	}
	return names
}
