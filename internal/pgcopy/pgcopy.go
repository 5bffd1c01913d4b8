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
	pageSize = 64 << 10 // bytes that are sent at once
	pages    = 8        // encoded and not yet sent

	header = "PGCOPY\n\xff\r\n\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00" // no flags, no extension
)

// errEnded is a Writer's error when the server takes no more pages. COPY's error has the
// reason.
var errEnded = errors.New("pgcopy: COPY has ended")

// Copy fills a table: fill writes rows, in its own goroutine so that encoding and sending
// overlap. Copy returns the number of rows that the server accepted. If fill fails, the
// server accepts none and Copy returns fill's error; if the context is done, its error.
func Copy(caller context.Context, conn *pgx.Conn, table string, columns []string, fill func(*Writer) error) (int64, error) {
	ctx, cancel := context.WithCancel(caller)
	defer cancel()
	w := &Writer{out: make(chan []byte, pages), free: make(chan []byte, pages), ended: ctx.Done()}
	w.Fields = append(newPage(), header...)
	reader := &reader{w: w}
	go func() {
		defer close(w.out)
		if reader.err = fill(w); reader.err == nil {
			w.Fields = binary.BigEndian.AppendUint16(w.Fields, math.MaxUint16) // the trailer
			reader.err = w.flush()
		}
	}()
	sql := fmt.Sprintf("COPY %s (%s) FROM STDIN (FORMAT binary)", table, strings.Join(columns, ", "))
	tag, err := conn.PgConn().CopyFrom(ctx, reader, sql)
	// fill may still be writing and, if the connection broke, a goroutine of pgconn may
	// still be reading.
	cancel()
	for range w.out {
		continue
	}
	if reader.err != nil && !errors.Is(reader.err, errEnded) {
		return 0, reader.err
	}
	if err != nil && caller.Err() != nil { // pgconn may only report that it closed the connection
		err = errors.Join(context.Cause(caller), err)
	}
	if err != nil {
		return 0, fmt.Errorf("copy to %s: %w", table, err)
	}
	return tag.RowsAffected(), nil
}

// reader reads a Writer's pages.
type reader struct {
	w    *Writer
	page []byte
	rest []byte // the unread part of page
	err  error  // of fill; set before w.out is closed
}

// Read reads from the next page. At the end it returns fill's error, if any.
func (r *reader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		if r.page != nil {
			select {
			case r.w.free <- r.page[:0]:
			default:
			}
		}
		var more bool
		if r.page, more = <-r.w.out; !more {
			if r.err != nil {
				return 0, r.err
			}
			return 0, io.EOF
		}
		r.rest = r.page
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// Writer writes rows: Row, then its fields in the order of the columns. Row and Copy
// return errors.
type Writer struct {
	Fields // the page
	out    chan []byte
	free   chan []byte
	ended  <-chan struct{}
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
	select {
	case <-w.ended:
		return errEnded
	case w.out <- w.Fields:
	}
	select {
	case w.Fields = <-w.free:
	default:
		w.Fields = newPage()
	}
	return nil
}

func newPage() []byte { return make([]byte, 0, pageSize+4096) }
