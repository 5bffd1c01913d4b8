package pipeline

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/extsort"
	"github.com/opentax/tally/internal/pgcopy"
	"github.com/opentax/tally/internal/postgres"
)

// rejectColumns are those of etl_rejects, in the order in which rows are encoded.
func rejectColumns() []string {
	return []string{"file_id", "line", "outcome", "faults", "transaction_id", "kept_file_id", "kept_line", "raw", "raw_bytes", "raw_length"}
}

const rejectColumnCount = 10

// Outcomes of rows that are not loaded.
const (
	outcomeRejected  = "rejected"
	outcomeDuplicate = "duplicate"
	outcomeConflict  = "conflict"
)

// appendRejected encodes a row that has faults.
func appendRejected(b []byte, fileID int64, r *Row) []byte {
	b = pgcopy.AppendRow(b, rejectColumnCount)
	b = pgcopy.AppendInt64(b, fileID)
	b = pgcopy.AppendInt64(b, r.Line)
	b = pgcopy.AppendBytes(b, outcomeRejected)
	b = pgcopy.AppendTexts(b, r.Faults.Strings())
	if len(r.id) > 0 {
		b = appendStorable(b, r.id)
	} else {
		b = pgcopy.AppendNull(b)
	}
	b = pgcopy.AppendNull(b)
	b = pgcopy.AppendNull(b)
	return appendRaw(b, r.Raw, r.RawLength)
}

// appendRaw encodes the three columns of a row's text.
func appendRaw(b, raw []byte, length int64) []byte {
	if storable(raw) {
		b = pgcopy.AppendNull(pgcopy.AppendBytes(b, raw))
	} else {
		b = pgcopy.AppendBytes(appendStorable(b, raw), raw)
	}
	return pgcopy.AppendInt64(b, length)
}

func appendStorable(b, text []byte) []byte {
	if storable(text) {
		return pgcopy.AppendBytes(b, text)
	}
	return pgcopy.AppendBytes(b, postgres.Text(string(text)))
}

// storable tells whether PostgreSQL's text can hold it: no NUL byte and nothing but
// UTF-8.
func storable(raw []byte) bool { return utf8.Valid(raw) && bytes.IndexByte(raw, 0) < 0 }

// limitExceeded says that more rows are faulty than the source allows.
type limitExceeded struct{ cause *FileError }

// Error is the reason why the file fails.
func (e *limitExceeded) Error() string { return e.cause.Error() }

// failedRejects bounds the rows that are kept of a failed file. The file itself
// is still there, and each try would keep them all again.
const failedRejects = 1000

// refuse ends a file over its reject limit: nothing is loaded, the first rejected
// rows are kept to be looked at. What the load had written is gone with its
// transaction, so they are read once more.
func (a *attempt) refuse(ctx context.Context, result *Result, limit *limitExceeded) error {
	result.Status, result.ErrorCode, result.Error = StatusFailed, limit.cause.Code, limit.cause.Error()
	result.Loaded, result.Duplicate, result.Conflict = 0, 0, 0
	return pgx.BeginFunc(ctx, a.pool, func(tx pgx.Tx) error {
		l := &load{attempt: a, tx: tx, result: result}
		if err := l.prepare(ctx); err != nil {
			return err
		}
		_, err := pgcopy.Copy(ctx, tx.Conn(), "etl_rejects", rejectColumns(), func(w *pgcopy.Writer) error {
			return l.firstRejects(ctx, w)
		})
		if err != nil {
			return err
		}
		if err := l.record(ctx); err != nil {
			return err
		}
		return l.fence(ctx)
	})
}

func (l *load) firstRejects(ctx context.Context, w *pgcopy.Writer) error {
	return l.reread(ctx, func(reader *Reader) error {
		var row Row
		var encoded []byte
		for kept := 0; kept < failedRejects; {
			if err := reader.scan.next(&reader.record); err != nil {
				return err
			}
			if reader.cleanRecord(&reader.record, &row); row.Faults != 0 {
				kept++
				encoded = appendRejected(encoded[:0], l.fileID, &row)
				if err := w.Encoded(encoded); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// reread reads the file once more, for rows that could not be told at first. What
// it is now is held against what it was. The file's end is no error of read's.
func (l *load) reread(ctx context.Context, read func(*Reader) error) (err error) {
	file, err := OpenFile(ctx, l.stores, l.Path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	reader, err := l.newReader(file)
	if err == nil {
		err = read(reader)
	}
	if err == nil || errors.Is(err, io.EOF) {
		_, err = io.Copy(io.Discard, file)
	}
	return l.changedInstead(file, err)
}

// newReader reads with the rules, and with what the file has shown about itself.
func (l *load) newReader(file *File) (*Reader, error) {
	reader, err := NewReader(file, l.Rules)
	if err == nil {
		reader.clean.refused = l.refused
	}
	return reader, err
}

// A repeat is a row that is not loaded because of another one: its line, that it is
// a conflict, the file and line of the row that was kept, and its id.
const (
	repeatLine     = 0
	repeatConflict = 8
	repeatFile     = 9
	repeatKept     = 17
	repeatID       = 25
)

func appendRepeat(b []byte, p packed, conflict bool, keptFile, keptLine int64) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(p.line()))
	if conflict {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(keptFile))
	b = binary.LittleEndian.AppendUint64(b, uint64(keptLine))
	return append(b, p.id()...)
}

// byLine is the order of the file.
func byLine() extsort.Order {
	return extsort.Order{
		Key:  func(r []byte, _ int) uint64 { return binary.LittleEndian.Uint64(r[repeatLine:]) },
		Rest: func(a, b []byte) int { return cmp.Compare(len(a), len(b)) }, // a line is there once
	}
}

// keepRepeats writes the repeats to etl_rejects. Their text is read from the file
// once more: carrying it along would cost more than reading it again.
func (l *load) keepRepeats(ctx context.Context) error {
	want := l.repeats.Len()
	if want == 0 {
		return nil
	}
	repeats, err := l.repeats.Sorted()
	if err != nil {
		return err
	}
	kept, err := pgcopy.Copy(ctx, l.tx.Conn(), "etl_rejects", rejectColumns(), func(w *pgcopy.Writer) error {
		return l.reread(ctx, func(reader *Reader) error {
			for {
				repeat, err := repeats.Next()
				if err != nil {
					return err
				}
				if err := l.keepRepeat(w, reader, repeat); err != nil {
					return err
				}
			}
		})
	})
	if err == nil && kept != want {
		err = fmt.Errorf("%d of %d repeated rows were found again", kept, want)
	}
	return err
}

// keepRepeat goes on in the file to the line of a repeat.
func (l *load) keepRepeat(w *pgcopy.Writer, reader *Reader, repeat []byte) error {
	line, record := int64(binary.LittleEndian.Uint64(repeat[repeatLine:])), &reader.record
	for record.line != line {
		if err := reader.scan.next(record); err != nil {
			return err
		}
	}
	if err := w.Row(rejectColumnCount); err != nil {
		return err
	}
	w.Int64(l.fileID)
	w.Int64(line)
	w.Text([...]string{outcomeDuplicate, outcomeConflict}[repeat[repeatConflict]])
	w.Texts(nil)
	w.Bytes(repeat[repeatID:])
	w.Int64(int64(binary.LittleEndian.Uint64(repeat[repeatFile:])))
	w.Int64(int64(binary.LittleEndian.Uint64(repeat[repeatKept:])))
	w.Append(func(b []byte) []byte { return appendRaw(b, cutRaw(record.raw), record.length) })
	return nil
}
