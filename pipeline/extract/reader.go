package extract

import (
	"bytes"
	"errors"
	"io"
	"slices"
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
	required int      // fields of a record without those that may be missing
	header   [][]byte // its cells of the columns; none if the file has no header
	skipped  int64    // lines above it
	sign     string
	ready    bool // record is to be handed out as it is
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

// Next reads the next record. After the last one it returns io.EOF; other errors are
// those of the stream, and what they cut short is not a record.
func (r *Reader) Next() (*Record, error) {
	rec := &r.record
	if r.ready {
		r.ready = false
		return rec, nil
	}
	for {
		rec.scratch = rec.scratch[:0]
		if err := r.scan.next(rec); err != nil {
			return nil, err
		}
		if rec.odd || rec.count != len(r.names) {
			r.check(rec)
		}
		if rec.Fault != 0 || r.header == nil {
			return rec, nil
		}
		// Nearly all records show by the length of one cell that they are no header.
		if f := rec.fields[rec.place[0]]; int(f.hi-f.lo) != len(r.header[0]) || !r.repeatsHeader(rec) {
			return rec, nil
		}
		r.scan.headers++
	}
}

// check finds the faults that depend on the columns.
func (r *Reader) check(rec *Record) {
	if rec.Fault != 0 {
		return
	}
	if rec.odd {
		rec.Fault = rec.noText()
	}
	if rec.Fault != 0 {
		return
	}
	if rec.count < r.required {
		rec.Fault = FaultTooFewFields
	} else if rec.count > len(r.names) && !r.scan.blankAfter(rec, len(r.names)-1) {
		rec.Fault = FaultTooManyFields
	}
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

// blankAfter reports whether the fields after the i-th, which is the last that is kept,
// are blank.
func (s *scanner) blankAfter(rec *Record, i int) bool {
	for _, c := range rec.raw[rec.fields[i].hi:] {
		if c != s.delimiter && c != ' ' && c != '\t' && (c != s.quote || c == 0) {
			return false
		}
	}
	return true
}

// repeatsHeader reports whether the cells of a record are those of the header.
func (r *Reader) repeatsHeader(rec *Record) bool {
	for i, name := range r.header {
		f := rec.fields[rec.place[i]]
		if !sameName(rec.raw[f.lo:f.hi], name) {
			return false
		}
	}
	return true
}

// sameName reports whether two cells name the same column; it knows only ASCII.
func sameName(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i, c := range a {
		if c != b[i] && nameByte(c) != nameByte(b[i]) {
			return false
		}
	}
	return true
}

func nameByte(c byte) byte {
	switch {
	case c >= 'A' && c <= 'Z':
		return c | ' '
	case c == '_', c == '-':
		return ' '
	}
	return c
}

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
