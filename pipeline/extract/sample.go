package extract

import (
	"bytes"
	"io"
	"slices"
)

const sampled = 100 // records

// Sample is the first rows of text that need not have the columns, at most n of them,
// as all of their cells. Rows that cannot be cut into cells are left out.
func Sample(r io.Reader, dialect Dialect, n int) ([][]string, error) {
	s := newScanner(r)
	delimiters, err := s.open(dialect, "")
	if err != nil {
		return nil, err
	}
	s.delimiter, _ = s.consistent(delimiters, 1)
	rows := s.sample(n)
	if s.err == nil || s.err == io.EOF { //nolint:errorlint // a reader returns it as it is
		return rows, nil
	}
	return nil, s.err
}

// Sample is the first rows, at most n of them, as the cells of all columns; they are read
// again by Next. Call it before Next.
func (r *Reader) Sample(n int) [][]string { return r.scan.sample(n) }

// SignColumn names a column that is not used and has the signs of amounts, such as S and
// H or debit and credit, in the first rows; "" if there is none.
func (r *Reader) SignColumn() string { return r.sign }

func (r *Reader) findSignColumn() string {
	if len(r.names) <= len(r.record.place) {
		return ""
	}
	rows := r.scan.sample(sampled)
	for i, name := range r.names {
		if !slices.Contains(r.record.place, i) && allSigns(rows, i) {
			return name
		}
	}
	return ""
}

// sample is the first records in the buffer, but for those with a fault.
func (s *scanner) sample(n int) [][]string {
	s.ahead(s.pos, window)
	text := s.at(s.pos, min(s.pos+window, s.end))
	if s.err == nil || s.end > s.pos+window {
		text = text[:bytes.LastIndexByte(text, '\n')+1] // the last one may go on
	}
	own := s.ofText(text)
	own.keep = MaxRecord
	var rows [][]string
	for rec := new(Record); len(rows) < n && own.next(rec) == nil; {
		if rec.Fault == 0 {
			rows = append(rows, rec.cells())
		}
	}
	return rows
}

// consistent is the delimiter under which the first records have the most fields in as
// many records as possible, but not fewer than are needed. The first of the delimiters
// comes first where that leaves a choice.
func (s *scanner) consistent(delimiters string, need int) (best byte, rows [][]string) {
	score := -1
	for _, delimiter := range []byte(delimiters) {
		s.delimiter = delimiter
		sample := s.sample(sampled)
		widths := map[int]int{}
		most := 0
		for _, row := range sample {
			if n := len(row); n >= need {
				widths[n] += n
				most = max(most, widths[n])
			}
		}
		if most > score {
			score, best, rows = most, delimiter, sample
		}
	}
	return best, rows
}

// cells are all fields of a record.
func (rec *Record) cells() []string {
	rec.scratch = rec.scratch[:0]
	text, cells := string(rec.raw), make([]string, len(rec.fields))
	for i, f := range rec.fields {
		cells[i] = text[f.lo:f.hi]
		if f.escaped {
			cells[i] = string(rec.unescape(f))
		}
	}
	return cells
}

// cells are all fields of a text that is one record.
func (s *scanner) cells(text []byte) []string {
	own := s.ofText(text)
	own.keep = MaxRecord
	var rec Record
	_ = own.next(&rec) // without one there are none
	return rec.cells()
}

// whole reports whether most rows are quoted as a whole: each is one field, which has
// enough fields itself.
func (s *scanner) whole(rows [][]string, enough int) bool {
	return enough > 1 && 2*count(rows, func(row []string) bool { return len(row) == 1 && len(s.cells([]byte(row[0]))) >= enough }) > len(rows)
}
