package extract

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Reader cuts text into records. It holds little more than one in memory, at most about
// 2 MiB, and allocates nothing for each. It is not safe for concurrent use.
type Reader struct {
	path     string // of the file, if known
	columns  []Column
	wanted   []string // their names in the header, folded
	scan     *scanner
	record   Record
	names    []string // in the header
	line     int64    // of the header; 0: there is none
	header   []byte   // its text
	required int      // fields that a record must have
	named    int      // fields of which any may have a value
	limit    int      // fields that a record may have if a comma may have cut an amount
	last     int      // place of the last column, which is a date in nearly all records
	skipped  int64    // lines above it
	sign     string
	ready    bool  // record is to be handed out as it is
	err      error // that ended the reading before the stream did
}

// NewReader finds the columns in the header of r, which is decoded UTF-8 text such as a
// File gives. A header without them is a *FileError; other errors are those of r.
func NewReader(r io.Reader, dialect Dialect, columns []Column) (*Reader, error) {
	reader := &Reader{columns: slices.Clone(columns), scan: newScanner(r)}
	for i, c := range columns {
		if c.Header == "" {
			reader.columns[i].Header = c.Name
		}
		reader.wanted = append(reader.wanted, fold(reader.columns[i].Header))
	}
	if f, ok := r.(*File); ok {
		reader.path = f.path
	}
	err := reader.open(dialect)
	if bad, ok := errors.AsType[*FileError](err); ok {
		bad.Path = reader.path
	}
	if err != nil {
		return nil, err
	}
	reader.sign = reader.findSignColumn()
	return reader, nil
}

func (r *Reader) open(dialect Dialect) error {
	delimiters, err := r.scan.open(dialect, r.path)
	switch {
	case err != nil:
		return err
	case dialect.Header == HeaderNone:
		return r.findPositions(delimiters)
	default:
		return r.findHeader(delimiters)
	}
}

// Next reads the next record. After the last one it returns io.EOF. Another header that
// has the columns in other places is a *FileError; other errors are those of the stream,
// and what they cut short is not a record.
func (r *Reader) Next() (*Record, error) {
	rec := &r.record
	if r.ready {
		r.ready = false
		return rec, nil
	}
	for r.err == nil {
		rec.scratch = rec.scratch[:0]
		if err := r.scan.next(rec); err != nil {
			return nil, err
		}
		if rec.Fault == 0 && !rec.isNumber(r.last) && !rec.hasNumber() && len(rec.raw) <= maxHeader && r.noRow(rec) {
			continue
		}
		if rec.odd || rec.count != r.named {
			r.check(rec)
		}
		return rec, nil
	}
	return nil, r.err
}

// hasNumber reports whether a cell starts as numbers do, and names do not: rows that are
// to be loaded have one, their user id.
func (rec *Record) hasNumber() bool {
	return slices.ContainsFunc(rec.place, func(i int) bool {
		if i >= len(rec.fields) {
			return false
		}
		cell := bytes.TrimLeft(rec.raw[rec.fields[i].lo:rec.fields[i].hi], " \t\r\n\v\f")
		return len(cell) > 0 && cell[0] < utf8.RuneSelf && (cell[0]|' ' < 'a' || cell[0]|' ' > 'z')
	})
}

// isNumber reports whether a field starts with a digit.
func (rec *Record) isNumber(i int) bool {
	return i < len(rec.fields) && int(rec.fields[i].lo) < len(rec.raw) && rec.raw[rec.fields[i].lo]-'0' < 10
}

// noRow reports whether a record is blank, or a header.
func (r *Reader) noRow(rec *Record) bool {
	cells := r.scan.cells(rec.raw)
	if !slices.ContainsFunc(cells, named) {
		r.scan.blanks++
		return true
	}
	places, found := r.find(cells)
	if r.line == 0 || found < len(r.columns) {
		return false
	}
	for c, p := range places {
		if !slices.Equal(p, rec.place[c:c+1]) {
			r.err = &FileError{Path: r.path, Line: rec.Line, Code: CodeBadHeader, Hint: "make a file of each part",
				Detail: fmt.Sprintf("the line is a header with the columns in other places than that of line %d", r.line)}
			return true
		}
	}
	r.scan.headers++
	return true
}

// check finds the faults that depend on the columns.
func (r *Reader) check(rec *Record) {
	if rec.odd && rec.Fault == 0 {
		rec.Fault = rec.noText()
	}
	switch {
	case rec.Fault != 0:
	case rec.count < r.required:
		rec.Fault = FaultTooFewFields
	case rec.count > r.limit && r.mayBeCut(rec), rec.count > r.named && !r.blankFrom(rec, r.named):
		rec.Fault = FaultTooManyFields
	}
}

// mayBeCut reports whether a field that is not used starts with a digit behind an amount, as
// do its decimals where a comma has cut it.
func (r *Reader) mayBeCut(rec *Record) bool {
	for c, i := range rec.place {
		if strings.HasPrefix(r.columns[c].Name, "amount") && rec.isNumber(i+1) && !slices.Contains(rec.place, i+1) {
			return true
		}
	}
	return false
}

// noText is the fault of a cell that is no text.
func (rec *Record) noText() (fault Fault) {
	for _, i := range rec.place {
		if i >= len(rec.fields) {
			continue
		}
		cell := rec.raw[rec.fields[i].lo:rec.fields[i].hi]
		if bytes.IndexByte(cell, 0) >= 0 {
			return FaultNulByte
		}
		if !utf8.Valid(cell) {
			fault = FaultInvalidUTF8
		}
	}
	return fault
}

// blankFrom reports whether the fields of a record from the i-th on are blank.
func (r *Reader) blankFrom(rec *Record, i int) bool {
	rest := bytes.TrimPrefix(rec.raw[rec.fields[i-1].hi:], []byte{r.scan.quote})
	if rest = bytes.Trim(rest, string(r.scan.delimiter)+" "); len(rest) == 0 {
		return true
	}
	return len(rest) <= maxHeader && !slices.ContainsFunc(r.scan.cells(rec.raw)[i:], named)
}

// named reports whether a cell has text that shows.
func named(cell string) bool { return fold(cell) != "" }

// Columns are the names in the header, trimmed, in the file's order; positions from 1 if
// it has none.
func (r *Reader) Columns() []string { return slices.Clone(r.names) }

// Delimiter is the byte between the file's fields.
func (r *Reader) Delimiter() byte { return r.scan.delimiter }

// Skipped counts the lines above the header that are not empty.
func (r *Reader) Skipped() int64 { return r.skipped }

// EmptyLines counts the lines so far that hold only delimiters and space.
func (r *Reader) EmptyLines() int64 { return r.scan.blanks }

// RepeatedHeaders counts the records so far that were the header again.
func (r *Reader) RepeatedHeaders() int64 { return r.scan.headers }

// LineEnds names the line ends so far: LF, CRLF, CR, mixed or none.
func (r *Reader) LineEnds() string {
	switch s := r.scan; {
	case s.crlf > 0 && s.lf > 0:
		return "mixed"
	case s.crlf > 0:
		return "CRLF"
	case s.lf > 0 && s.cr:
		return "CR"
	case s.lf > 0:
		return "LF"
	default:
		return "none"
	}
}
