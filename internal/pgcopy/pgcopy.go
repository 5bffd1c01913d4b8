// Package pgcopy sends rows to PostgreSQL in the binary format of COPY. Callers encode
// field by field, so no value is boxed and no memory is allocated per row. PostgreSQL's
// documentation of COPY describes the format, each type's receive function its fields.
package pgcopy

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/jackc/pgx/v5"
)

const (
	// pageSize is the number of bytes that are sent at once. A page that grows by its last
	// row still fits in the buffer of 64 KiB in which pgconn sends it.
	pageSize = 60 << 10

	header = "PGCOPY\n\xff\r\n\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00" // no flags, no extension
)

// errEnded is a Writer's error when the server takes no more pages. COPY's error has the
// reason.
var errEnded = errors.New("pgcopy: COPY has ended")

// Copy fills a table: fill writes rows, in its own goroutine so that encoding and sending
// overlap. Copy returns the number of rows that the server accepted. If fill fails, the
// server accepts none and Copy returns fill's error; if the context is done, its error.
func Copy(ctx context.Context, conn *pgx.Conn, table string, columns []string, fill func(*Writer) error) (int64, error) {
	reader, writer := io.Pipe()
	w := &Writer{Fields: append(make([]byte, 0, 64<<10), header...), out: writer}
	filled := make(chan error, 1)
	go func() {
		err := fill(w)
		if err == nil {
			w.Fields = binary.BigEndian.AppendUint16(w.Fields, math.MaxUint16) // the trailer
			err = w.flush()
		}
		filled <- err
		writer.CloseWithError(err)
	}()
	sql := fmt.Sprintf("COPY %s (%s) FROM STDIN (FORMAT binary)", table, strings.Join(columns, ", "))
	tag, err := conn.PgConn().CopyFrom(ctx, reader, sql)
	reader.CloseWithError(errEnded) // fill may still be writing
	if fillErr := <-filled; fillErr != nil && !errors.Is(fillErr, errEnded) {
		return 0, fillErr
	}
	if err != nil && ctx.Err() != nil { // pgconn may only report that it closed the connection
		err = errors.Join(context.Cause(ctx), err)
	}
	if err != nil {
		return 0, fmt.Errorf("copy to %s: %w", table, err)
	}
	return tag.RowsAffected(), nil
}

// Writer writes rows: Row, then its fields in the order of the columns. Row and Copy
// return errors.
type Writer struct {
	Fields // the page
	out    io.Writer
}

// Row starts a row with this number of fields.
func (w *Writer) Row(fields int) error {
	if len(w.Fields) >= pageSize {
		if err := w.flush(); err != nil {
			return err
		}
	}
	w.Fields.Row(fields)
	return nil
}

// Encoded writes complete rows that are already encoded.
func (w *Writer) Encoded(rows []byte) error {
	if len(w.Fields)+len(rows) > pageSize && len(w.Fields) > 0 {
		if err := w.flush(); err != nil {
			return err
		}
	}
	w.Fields = append(w.Fields, rows...)
	return nil
}

func (w *Writer) flush() error {
	_, err := w.out.Write(w.Fields)
	w.Fields = w.Fields[:0]
	return err
}
