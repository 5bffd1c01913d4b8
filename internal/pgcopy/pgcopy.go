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
	"math/bits"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/internal/panics"
)

const (
	// pageSize is the number of bytes that are sent at once. A page that grows by its last
	// row still fits in the buffer of 64 KiB in which pgconn sends it.
	pageSize = 60 << 10

	header = "PGCOPY\n\xff\r\n\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00" // no flags, no extension

	textOID = 25 // pg_type.oid of TEXT

	numericNegative = 0x4000
	numericBase     = 10_000 // of PostgreSQL's digits
)

// Epoch is 2000-01-01, from which PostgreSQL counts days, in days since 1970-01-01.
const Epoch = 10957

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
		err := w.fill(fill)
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

func (w *Writer) fill(rows func(*Writer) error) (err error) {
	defer panics.Recover(&err)
	if err := rows(w); err != nil {
		return err
	}
	w.Fields = binary.BigEndian.AppendUint16(w.Fields, math.MaxUint16) // the trailer
	return w.flush()
}

// Row starts a row with this number of fields.
func (w *Writer) Row(fields int) error {
	err := w.makeRoom(0)
	w.Fields.Row(fields)
	return err
}

// Encoded writes complete rows that are already encoded.
func (w *Writer) Encoded(rows []byte) error {
	err := w.makeRoom(len(rows))
	w.Fields = append(w.Fields, rows...)
	return err
}

// makeRoom sends the page unless it has room for some bytes more.
func (w *Writer) makeRoom(bytes int) error {
	if len(w.Fields) == 0 || len(w.Fields)+bytes < pageSize {
		return nil
	}
	return w.flush()
}

func (w *Writer) flush() error {
	_, err := w.out.Write(w.Fields)
	w.Fields = w.Fields[:0]
	return err
}

// Fields are encoded fields. Its methods append a row's start or a field.
type Fields []byte

// Row starts a row with this number of fields.
func (f *Fields) Row(fields int) { *f = binary.BigEndian.AppendUint16(*f, uint16(fields)) }

// Null appends NULL.
func (f *Fields) Null() { *f = append(*f, 0xff, 0xff, 0xff, 0xff) }

// Int32 appends an INT.
func (f *Fields) Int32(v int32) {
	*f = binary.BigEndian.AppendUint32(append(*f, 0, 0, 0, 4), uint32(v))
}

// Int64 appends a BIGINT.
func (f *Fields) Int64(v int64) {
	*f = binary.BigEndian.AppendUint64(append(*f, 0, 0, 0, 8), uint64(v))
}

// Float64 appends a FLOAT.
func (f *Fields) Float64(v float64) { f.Int64(int64(math.Float64bits(v))) }

// Date appends a DATE.
func (f *Fields) Date(d civil.Date) { f.Int32(int32(d) - Epoch) }

// Bytes appends a TEXT or BYTEA.
func (f *Fields) Bytes(v []byte) { *f = append(f.length(len(v)), v...) }

// Text appends a TEXT.
func (f *Fields) Text(v string) { *f = append(f.length(len(v)), v...) }

func (f *Fields) length(n int) []byte { return binary.BigEndian.AppendUint32(*f, uint32(n)) }

// Texts appends a TEXT[] of one dimension without nulls.
func (f *Fields) Texts(v []string) {
	from := len(*f)
	dimensions := byte(min(len(v), 1))
	*f = append(*f, 0, 0, 0, 0 /* its length */, 0, 0, 0, dimensions, 0, 0, 0, 0 /* no nulls */, 0, 0, 0, textOID)
	if len(v) > 0 {
		*f = f.length(len(v))
		*f = f.length(1) // the first index
	}
	for _, s := range v {
		f.Text(s)
	}
	binary.BigEndian.PutUint32((*f)[from:], uint32(len(*f)-from-4))
}

// Numeric appends a NUMERIC with the minimum number of decimals. A digit of PostgreSQL
// has four decimal places, so only the last one is after the decimal point. PostgreSQL
// removes a last digit that is 0, and the sign and the weight of a number without digits.
func (f *Fields) Numeric(s money.Sum) {
	sign := uint16(0)
	high, lo := s.Words()
	if high < 0 {
		sign = numericNegative
		high, lo = s.Neg().Words()
	}
	h := uint64(high)
	var all [11]uint16 // 2^127 has 39 decimal places
	first := len(all)
	for h|lo != 0 {
		var r uint64
		h, r = h/numericBase, h%numericBase
		lo, r = bits.Div64(r, lo, numericBase)
		first--
		all[first] = uint16(r)
	}
	scale := uint16(0)
	if last := all[len(all)-1]; last != 0 {
		for scale = 4; last%10 == 0; last /= 10 {
			scale--
		}
	}
	digits := all[first:]
	weight := int16(len(digits) - 2) // of the first digit: 0 is the ones
	b := f.length(8 + 2*len(digits))
	for _, v := range [...]uint16{uint16(len(digits)), uint16(weight), sign, scale} {
		b = binary.BigEndian.AppendUint16(b, v)
	}
	for _, d := range digits {
		b = binary.BigEndian.AppendUint16(b, d)
	}
	*f = b
}

// ParseNumeric parses a NUMERIC in PostgreSQL's binary format, without its length. It
// returns an error for one that is not finite, has more than 4 decimals or does not fit.
func ParseNumeric(b []byte) (money.Sum, error) {
	if len(b) < 8 || len(b) != 8+2*int(binary.BigEndian.Uint16(b)) {
		return money.Sum{}, errors.New("a NUMERIC of the wrong length")
	}
	weight, sign := int(int16(binary.BigEndian.Uint16(b[2:]))), binary.BigEndian.Uint16(b[4:])
	if sign != 0 && sign != numericNegative {
		return money.Sum{}, errors.New("a NUMERIC that is not finite")
	}
	digits := b[8:]
	var h, lo uint64
	for ; weight >= -1 || len(digits) > 0; weight-- {
		digit := uint64(0)
		if len(digits) > 0 {
			digit, digits = uint64(binary.BigEndian.Uint16(digits)), digits[2:]
		}
		if weight < -1 {
			if digit != 0 {
				return money.Sum{}, errors.New("a NUMERIC of more than 4 decimals")
			}
			continue
		}
		over, high := bits.Mul64(h, numericBase)
		carry, low := bits.Mul64(lo, numericBase)
		var more uint64
		lo, more = bits.Add64(low, digit, 0)
		h, more = bits.Add64(high, carry, more)
		if over|more != 0 || h>>63 != 0 {
			return money.Sum{}, errors.New("a NUMERIC of more than 128 bits")
		}
	}
	s := money.FromWords(int64(h), lo)
	if sign == numericNegative {
		s = s.Neg()
	}
	return s, nil
}
