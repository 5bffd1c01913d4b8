package load

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"unicode/utf8"

	"github.com/opentax/tally/internal/extsort"
	"github.com/opentax/tally/internal/pgcopy"
	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/internal/reject"
	"github.com/opentax/tally/pipeline/extract"
	"github.com/opentax/tally/pipeline/transform"
)

// rejectColumns are those of etl_rejects, in the order in which rows are encoded.
func rejectColumns() []string {
	return []string{"file_id", "line", "outcome", "faults", "transaction_id", "kept_file_id", "kept_line", "raw", "raw_bytes", "raw_length", "hints"}
}

const rejectColumnCount = 11

// appendRejected encodes a row that has faults.
func appendRejected(f *pgcopy.Fields, fileID int64, r *transform.Row) {
	f.Row(rejectColumnCount)
	f.Int64(fileID)
	f.Int64(r.Line)
	f.Text(reject.OutcomeRejected)
	f.Texts(r.Faults.Strings())
	switch {
	case len(r.ID) == 0:
		f.Null()
	case storable(r.ID):
		f.Bytes(r.ID)
	default:
		f.Text(postgres.Text(string(r.ID)))
	}
	f.Null()
	f.Null()
	appendRaw(f, r.Raw, r.RawLength)
	hints := make([]string, len(r.Hints))
	for i, h := range r.Hints {
		hints[i] = postgres.Text(h.String())
	}
	f.Texts(hints)
}

// appendRaw encodes the three columns of a row's text.
func appendRaw(f *pgcopy.Fields, raw []byte, length int64) {
	if storable(raw) {
		f.Bytes(raw)
		f.Null()
	} else {
		f.Text(postgres.Text(string(raw)))
		f.Bytes(raw)
	}
	f.Int64(length)
}

// storable reports whether PostgreSQL's text can hold it: no NUL byte and nothing but
// UTF-8.
func storable(raw []byte) bool { return utf8.Valid(raw) && bytes.IndexByte(raw, 0) < 0 }

// A duplicate, as the sorter has it, is a valid row that is not loaded because of its id:
// its line, its outcome, the file and line of the row that was kept, and its id.
const (
	duplicateLine    = 0
	duplicateOutcome = 8
	duplicateFile    = 9
	duplicateKept    = 17
	duplicateID      = 25
)

// Outcomes of a duplicate. The last two are rejected: the key of the id has no row, or the row's month
// is retired.
const (
	isDuplicate byte = iota
	isConflict
	isOrphan
	isRetired
)

func appendDuplicate(b []byte, p packed, outcome byte, keptFile, keptLine int64) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(p.line()))
	b = append(b, outcome)
	b = binary.LittleEndian.AppendUint64(b, uint64(keptFile))
	b = binary.LittleEndian.AppendUint64(b, uint64(keptLine))
	return append(b, p.id()...)
}

// byLine is the order of the file.
func byLine() extsort.Order {
	return extsort.Order{
		Key:  func(r []byte) uint64 { return binary.LittleEndian.Uint64(r[duplicateLine:]) },
		Rest: func(a, b []byte) int { return cmp.Compare(len(a), len(b)) }, // a line is there once
	}
}

// keepDuplicates writes them to etl_rejects. Their text is read from the file
// once more: carrying it along would cost more than reading it again.
func (l *load) keepDuplicates(ctx context.Context) error {
	want := l.duplicates.Len()
	if want == 0 {
		return nil
	}
	duplicates, err := l.duplicates.Sorted()
	if err != nil {
		return err
	}
	kept, err := pgcopy.Copy(ctx, l.tx.Conn(), "etl_rejects", rejectColumns(), func(w *pgcopy.Writer) error {
		return l.reread(ctx, func(reader *extract.Reader, _ *transform.Cleaner) error {
			for {
				d, err := duplicates.Next()
				if err != nil {
					return err
				}
				if err := l.keepDuplicate(w, reader, d); err != nil {
					return err
				}
			}
		})
	})
	if err == nil && kept != want {
		err = fmt.Errorf("%d of %d duplicate rows were found again", kept, want)
	}
	return err
}

// keepDuplicate goes on in the file to the line of a duplicate.
func (l *load) keepDuplicate(w *pgcopy.Writer, reader *extract.Reader, d []byte) error {
	line := int64(binary.LittleEndian.Uint64(d[duplicateLine:]))
	record, err := reader.Next()
	for err == nil && record.Line != line {
		record, err = reader.Next()
	}
	if err != nil {
		return err
	}
	f := pgcopy.Fields(l.scratch[:0])
	f.Row(rejectColumnCount)
	f.Int64(l.fileID)
	f.Int64(line)
	outcome, id := d[duplicateOutcome], d[duplicateID:]
	f.Text([...]string{reject.OutcomeDuplicate, reject.OutcomeConflict, reject.OutcomeRejected, reject.OutcomeRejected}[outcome])
	if outcome != isDuplicate {
		l.openIn.add(line)
	}
	var faults, hints []string
	if fault, hint := l.faultOf(outcome, id); fault != 0 {
		faults, hints = []string{fault.String()}, []string{hint.String()}
	}
	f.Texts(faults)
	f.Bytes(id)
	if file := int64(binary.LittleEndian.Uint64(d[duplicateFile:])); file == 0 {
		f.Null()
		f.Null()
	} else {
		f.Int64(file)
		f.Int64(int64(binary.LittleEndian.Uint64(d[duplicateKept:])))
	}
	appendRaw(&f, record.Raw(), record.Length)
	f.Texts(hints)
	l.scratch = f
	l.rejects.Add(f)
	return w.Encoded(f)
}
