package extract

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Reader cuts text into records. It holds little more than one in memory, at most about
// 2 MiB, and allocates nothing for each. It is not safe for concurrent use.
type Reader struct {
	scan   *scanner
	record Record
	names  []string // in the header
	ready  bool     // record is to be handed out as it is
}

// NewReader reads the header from r, which is decoded UTF-8 text such as a File
// gives, and finds the required columns in it, whose names do not depend on case. A
// header without them is a *FileError; other errors are those of r.
func NewReader(r io.Reader, _ Dialect, columns []Column) (*Reader, error) {
	required := make([]string, len(columns))
	for i, c := range columns {
		required[i] = c.Header
	}
	reader := &Reader{scan: newScanner(r)}
	if err := reader.header(required); err != nil {
		var bad *FileError
		if f, ok := r.(*File); ok && errors.As(err, &bad) {
			bad.Path = f.path
		}
		return nil, err
	}
	return reader, nil
}

// Next reads the next record. After the last one it returns io.EOF; other errors are
// those of the stream, and what they cut short is not a record.
func (r *Reader) Next() (*Record, error) {
	rec := &r.record
	if r.ready {
		r.ready = false
		return rec, nil
	}
	rec.scratch = rec.scratch[:0]
	if err := r.scan.next(rec); err != nil {
		return nil, err
	}
	if rec.Fault == 0 && rec.count != len(r.names) {
		rec.Fault = FaultTooManyFields
		if rec.count < len(r.names) {
			rec.Fault = FaultTooFewFields
		}
	}
	return rec, nil
}

// Columns are the names in the header, trimmed, in the file's order.
func (r *Reader) Columns() []string { return slices.Clone(r.names) }

// Delimiter is the byte between the file's fields.
func (r *Reader) Delimiter() byte { return r.scan.delimiter }

// EmptyLines counts the empty lines so far.
func (r *Reader) EmptyLines() int64 { return r.scan.blanks }

// LineEnds names the line ends so far: LF, CRLF, mixed or none.
func (r *Reader) LineEnds() string {
	switch s := r.scan; {
	case s.crlf > 0 && s.lf > 0:
		return "mixed"
	case s.crlf > 0:
		return "CRLF"
	case s.lf > 0:
		return "LF"
	default:
		return "none"
	}
}

// header reads the file's first line that is not empty, and finds the columns.
func (r *Reader) header(required []string) error {
	hint := "the first line must name the columns"
	if err := r.sniff(required, hint); err != nil {
		return err
	}
	rec := &r.record
	if err := r.scan.next(rec); err != nil {
		return fmt.Errorf("read header: %w", err)
	}
	if f := rec.Fault; f != 0 && f != FaultNulByte && f != FaultInvalidUTF8 {
		return &FileError{Line: rec.Line, Code: CodeBadHeader, Detail: "the header has the fault " + f.String(), Hint: hint}
	}
	for i := range rec.fields {
		r.names = append(r.names, rec.name(i))
	}
	r.scan.keep = len(r.names)
	if bytes.IndexByte(rec.raw, '\r') >= 0 {
		// The whole file may be one line to us: every row would be lost.
		return &FileError{Line: rec.Line, Code: CodeBadHeader, Detail: "the header holds a CR that ends no line",
			Hint: "save the file with LF or CR LF line ends"}
	}
	return r.findColumns(required)
}

// sniff sets the delimiter: the one under which the header has the most of the
// required columns, the comma where that leaves a choice.
func (r *Reader) sniff(required []string, hint string) error {
	s := r.scan
	s.keep = MaxRecord
	line, err := s.peekLine()
	if errors.Is(err, io.EOF) {
		return &FileError{Code: CodeEmptyFile, Detail: "there is no header line", Hint: hint}
	}
	if err != nil {
		return fmt.Errorf("read header: %w", err)
	}
	best := -1
	for _, delimiter := range []byte(delimiters) {
		if n := countColumns(line, delimiter, required); n > best {
			best, s.delimiter = n, delimiter
		}
	}
	return nil
}

// countColumns counts the required columns in a header line split at the delimiter.
func countColumns(line []byte, delimiter byte, required []string) int {
	s := scanner{delimiter: delimiter, keep: MaxRecord}
	rec := Record{raw: line}
	s.splitQuoted(&rec, line) // a quoted line end in it is no matter
	found := map[int]bool{}
	for i := range rec.fields {
		if c := indexOf(required, rec.name(i)); c >= 0 {
			found[c] = true
		}
	}
	return len(found)
}

// indexOf is the place of a name among the required ones, or -1.
func indexOf(required []string, name string) int {
	return slices.IndexFunc(required, func(c string) bool { return strings.EqualFold(name, c) })
}

func (r *Reader) findColumns(required []string) error {
	r.record.place = make([]int, len(required))
	count := make([]int, len(required))
	for i, name := range r.names {
		if c := indexOf(required, name); c >= 0 {
			r.record.place[c] = i
			count[c]++
		}
	}
	var missing, repeated []string
	for c, name := range required {
		switch {
		case count[c] == 0:
			missing = append(missing, name)
		case count[c] > 1:
			repeated = append(repeated, name)
		}
	}
	e := &FileError{Line: r.record.Line}
	switch {
	case len(missing) > 0:
		e.Column, e.Code = strings.Join(missing, ", "), CodeMissingColumn
		e.Detail = fmt.Sprintf("the header has %q", clip(strings.Join(r.names, string(r.scan.delimiter)), 200))
		e.Hint = "the first line must name the columns " + listed(required)
		if bytes.IndexByte(r.record.raw, 0) >= 0 {
			e.Hint = "the header holds NUL bytes: if the file is UTF-16 or UTF-32, save it as UTF-8, or as UTF-16 with a byte order mark"
		}
	case len(repeated) > 0:
		e.Column, e.Code = strings.Join(repeated, ", "), CodeRepeatedColumn
		e.Detail, e.Hint = "the header names it more than once", "rename all but one"
	default:
		return nil
	}
	return e
}

// listed is "a, b and c".
func listed(names []string) string {
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

// clip shortens s to n bytes for a message.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
