// Package pgcopy sends rows to PostgreSQL in the binary format of COPY, encoded by
// the caller field by field: no value is boxed, and nothing is allocated per row.
// The format is described under COPY in PostgreSQL's documentation, that of each
// type by its receive function.
package pgcopy

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/opentax/tally/internal/civil"

	"github.com/jackc/pgx/v5"
)

const (
	pageSize = 64 << 10 // bytes that are handed over at once
	pages    = 8        // handed over and not yet sent

	signature = "PGCOPY\n\xff\r\n\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00" // and no flags, no extension

	epochOffset = 10957 // days from 1970-01-01 to 2000-01-01, where PostgreSQL counts from
)

// errGone is what a Writer says when nobody takes its pages any more; the reason
// is COPY's error.
var errGone = errors.New("pgcopy: COPY has ended")

// Copy fills a table: fill writes rows, in a goroutine of its own so that encoding
// and sending overlap. It returns the number of rows that the server has taken.
// Where fill fails, the server takes none, and the error is fill's; where the context
// ends, it is the context's.
func Copy(caller context.Context, conn *pgx.Conn, table string, columns []string, fill func(*Writer) error) (int64, error) {
	ctx, cancel := context.WithCancel(caller)
	defer cancel()
	w := &Writer{page: append(make([]byte, 0, pageSize+4096), signature...), out: make(chan []byte, pages), free: make(chan []byte, pages), gone: ctx.Done()}
	var filled error // to be looked at once w.out is closed
	go func() {
		defer close(w.out)
		if filled = fill(w); filled == nil {
			w.page = binary.BigEndian.AppendUint16(w.page, math.MaxUint16) // the trailer
			filled = w.flush()
		}
	}()
	source := &source{w: w, filled: &filled}
	sql := fmt.Sprintf("COPY %s (%s) FROM STDIN (FORMAT binary)", table, strings.Join(columns, ", "))
	tag, err := conn.PgConn().CopyFrom(ctx, source, sql)
	// fill may be in the middle of a page that nobody takes, and where the connection
	// broke, a goroutine of pgconn's may still be reading from source.
	cancel()
	for range w.out {
		continue
	}
	if filled != nil && !errors.Is(filled, errGone) {
		return 0, filled
	}
	if err != nil && caller.Err() != nil { // pgconn may tell of the connection that it closed
		err = errors.Join(context.Cause(caller), err)
	}
	if err != nil {
		return 0, fmt.Errorf("copy to %s: %w", table, err)
	}
	return tag.RowsAffected(), nil
}

// source is the pages as pgconn reads them.
type source struct {
	w      *Writer
	page   []byte // of which rest is not read yet
	rest   []byte
	filled *error
}

// Read hands pages on; at their end it gives the error of fill, if there was one.
func (s *source) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		if s.page != nil {
			select {
			case s.w.free <- s.page[:0]:
			default:
			}
		}
		var more bool
		if s.page, more = <-s.w.out; !more {
			if *s.filled != nil {
				return 0, *s.filled
			}
			return 0, io.EOF
		}
		s.rest = s.page
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// Writer takes rows: Row, then as many fields as it said, in the order of the
// columns. Errors come at Row, and from Copy.
type Writer struct {
	page []byte
	out  chan []byte
	free chan []byte
	gone <-chan struct{}
}

// Row starts a row of so many fields.
func (w *Writer) Row(fields int) error {
	if len(w.page) >= pageSize {
		if err := w.flush(); err != nil {
			return err
		}
	}
	w.page = AppendRow(w.page, fields)
	return nil
}

// Encoded takes whole rows that were encoded elsewhere.
func (w *Writer) Encoded(rows []byte) error {
	if len(w.page)+len(rows) > pageSize && len(w.page) > 0 {
		if err := w.flush(); err != nil {
			return err
		}
	}
	w.page = append(w.page, rows...)
	return nil
}

func (w *Writer) flush() error {
	select {
	case <-w.gone:
		return errGone
	case w.out <- w.page:
	}
	select {
	case w.page = <-w.free:
	default:
		w.page = make([]byte, 0, pageSize+4096)
	}
	return nil
}

// Null is a field without a value.
func (w *Writer) Null() { w.page = AppendNull(w.page) }

// Int32 is an INT.
func (w *Writer) Int32(v int32) { w.page = AppendInt32(w.page, v) }

// Int64 is a BIGINT.
func (w *Writer) Int64(v int64) { w.page = AppendInt64(w.page, v) }

// Float64 is a FLOAT.
func (w *Writer) Float64(v float64) { w.page = AppendInt64(w.page, int64(math.Float64bits(v))) }

// Date is a DATE, counted in days from 1970-01-01.
func (w *Writer) Date(d civil.Date) { w.page = AppendInt32(w.page, int32(d)-epochOffset) }

// Bytes is a TEXT or BYTEA.
func (w *Writer) Bytes(v []byte) { w.page = AppendBytes(w.page, v) }

// Text is a TEXT.
func (w *Writer) Text(v string) { w.page = AppendBytes(w.page, v) }

// Texts is a TEXT[].
func (w *Writer) Texts(v []string) { w.page = AppendTexts(w.page, v) }

// Append takes fields that are appended to what it is given.
func (w *Writer) Append(fields func([]byte) []byte) { w.page = fields(w.page) }

// AppendRow starts a row of so many fields.
func AppendRow(b []byte, fields int) []byte {
	return binary.BigEndian.AppendUint16(b, uint16(fields))
}

// AppendNull appends a field without a value.
func AppendNull(b []byte) []byte { return append(b, 0xff, 0xff, 0xff, 0xff) }

// AppendInt32 appends an INT.
func AppendInt32(b []byte, v int32) []byte {
	return binary.BigEndian.AppendUint32(append(b, 0, 0, 0, 4), uint32(v))
}

// AppendInt64 appends a BIGINT.
func AppendInt64(b []byte, v int64) []byte {
	return binary.BigEndian.AppendUint64(append(b, 0, 0, 0, 8), uint64(v))
}

// AppendBytes appends a TEXT or BYTEA.
func AppendBytes[T []byte | string](b []byte, v T) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(v))), v...)
}

// textOID is pg_type.oid of TEXT.
const textOID = 25

// AppendTexts appends a TEXT[], of one dimension and without nulls.
func AppendTexts(b []byte, v []string) []byte {
	from := len(b)
	b = append(b, 0, 0, 0, 0) // its length, which comes last
	dimensions := uint32(1)
	if len(v) == 0 {
		dimensions = 0
	}
	b = binary.BigEndian.AppendUint32(b, dimensions)
	b = binary.BigEndian.AppendUint32(b, 0) // no nulls
	b = binary.BigEndian.AppendUint32(b, textOID)
	if len(v) > 0 {
		b = binary.BigEndian.AppendUint32(b, uint32(len(v)))
		b = binary.BigEndian.AppendUint32(b, 1) // the first index
	}
	for _, s := range v {
		b = AppendBytes(b, s)
	}
	binary.BigEndian.PutUint32(b[from:], uint32(len(b)-from-4))
	return b
}
