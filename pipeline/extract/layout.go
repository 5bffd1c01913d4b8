package extract

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/text/transform"
)

// Layout is what reading a row of a file again takes if only the row's text is at hand.
type Layout struct {
	Delimiter string `json:"delimiter"`
	Encoding  string `json:"encoding"`         // from which the text was decoded
	Header    []byte `json:"header,omitempty"` // its text; none: columns are known by position
	Fields    int    `json:"fields"`           // of which any may have a value
	Limit     int    `json:"limit"`            // fields that a row may have
}

// Layout is the file's, as far as it was read in an encoding.
func (r *Reader) Layout(encoding string) Layout {
	return Layout{string(r.scan.delimiter), encoding, r.header, r.named, r.limit}
}

// RowReader reads single rows of a file again, by their text.
type RowReader struct {
	reader *Reader
	decode transform.Transformer // of texts that were taken for UTF-8; may be nil
}

// Reader reads rows of the file in the settings' dialect, which may be another than the one
// in which the file was read. A *FileError says why the columns cannot be found.
func (l Layout) Reader(dialect Dialect, columns []Column) (*RowReader, error) {
	if dialect.Delimiter == "" {
		dialect.Delimiter = l.Delimiter
	}
	rows := &RowReader{}
	header := l.Header
	if dialect.Encoding != "" && !strings.HasPrefix(l.Encoding, "UTF-8") {
		if _, name, err := decoderOf(dialect.Encoding); err != nil || name != l.Encoding {
			return nil, &FileError{Code: CodeUnreadable, Detail: fmt.Sprintf("the file was read as %s, and the setting encoding is %s", l.Encoding, dialect.Encoding),
				Hint: "revert the file, and load it again"}
		}
	} else if dialect.Encoding != "" {
		decoder, _, err := decoderOf(dialect.Encoding)
		if err != nil {
			return nil, err
		}
		if rows.decode = decoder; decoder != nil {
			if header, _, err = transform.Bytes(decoder, header); err != nil {
				return nil, fmt.Errorf("decode the header: %w", err)
			}
		}
	}
	var err error
	if dialect.Header == HeaderNone {
		rows.reader, err = l.byPosition(dialect, columns)
	} else if len(header) == 0 {
		err = &FileError{Code: CodeMissingColumn, Detail: "the file was read without a header", Hint: "set header: none"}
	} else {
		rows.reader, err = NewReader(bytes.NewReader(append(slices.Clip(header), '\n')), dialect, columns)
	}
	if err != nil {
		return nil, err
	}
	rows.reader.limit = max(l.Limit, rows.reader.named)
	rows.reader = rows.reader.ofBlocks()
	return rows, nil
}

// byPosition is a reader of rows without a header.
func (l Layout) byPosition(dialect Dialect, columns []Column) (*Reader, error) {
	r := &Reader{columns: columns, scan: newScanner(strings.NewReader("")), named: l.Fields}
	r.scan.delimiter, _ = dialect.delimiter()
	r.scan.quote, _ = dialect.quote()
	r.scan.keep = l.Fields
	for _, c := range columns {
		at, err := strconv.Atoi(strings.TrimSpace(c.Header))
		if err != nil || at < 1 || at > l.Fields {
			return nil, &FileError{Code: CodeMissingColumn, Column: c.Name, Hint: "correct the setting columns",
				Detail: fmt.Sprintf("%q is no position in a file of %d columns", c.Header, l.Fields)}
		}
		r.required = max(r.required, at)
		r.record.place = append(r.record.place, at-1)
	}
	r.last = r.record.place[len(r.record.place)-1]
	return r, nil
}

// Read reads the text of a row that starts on a line. Text that is no row, or more than one
// in the settings' dialect, has a fault. The record is valid until the next call.
func (r *RowReader) Read(text []byte, line int64) (*Record, error) {
	if r.decode != nil {
		decoded, _, err := transform.Bytes(r.decode, text)
		if err != nil {
			return nil, fmt.Errorf("decode the row on line %d: %w", line, err)
		}
		text = decoded
	}
	reader := r.reader
	reader.err = nil
	reader.start(&block{data: append(bytes.Clone(text), '\n'), lines: line - 1})
	record, err := reader.Next()
	if err == nil && reader.scan.pos == reader.scan.end {
		return record, nil
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	record = &reader.record
	record.Line, record.Length, record.Fault, record.raw = line, int64(len(text)), FaultBadQuote, text
	return record, nil
}
