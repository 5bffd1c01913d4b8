package parquet

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/klauspost/compress/zstd"
)

// taskWriter writes the rows of a task into its files.
type taskWriter struct {
	task
	lineage lineage
	create  func(partition) (io.WriteCloser, error)
	encoder *zstd.Encoder
	wrote   func(partition, ManifestFile)

	open    []*partitionFile         // of the task's files
	byMonth map[int32]*partitionFile // by PostgreSQL's date, where the first column has it
}

// partitionFile is the file of a partition, while it is written.
type partitionFile struct {
	partition
	file   *file
	to     io.WriteCloser // nil when it is closed
	length int64
	hash   hash.Hash
}

// Write writes on, and takes what was written into length and checksum.
func (p *partitionFile) Write(b []byte) (int, error) {
	n, err := p.to.Write(b)
	p.hash.Write(b[:n])
	p.length += int64(n)
	return n, err
}

// begin opens every file of the task: also those for which no row will come.
func (w *taskWriter) begin() error {
	w.byMonth = map[int32]*partitionFile{}
	for _, p := range w.files {
		to, err := w.create(p)
		if err != nil {
			return err
		}
		f := &partitionFile{partition: p, to: to, hash: sha256.New()}
		w.open = append(w.open, f)
		w.byMonth[days(p.month)] = f
		if f.file, err = newFile(f, w.table, w.encoder); err != nil {
			return err
		}
	}
	return nil
}

// days is a month's first day as PostgreSQL counts it.
func days(month time.Time) int32 {
	return int32(month.Unix()/secondsPerDay) - postgresEpoch
}

var errStrayMonth = errors.New("a row of a month that has no transactions: run tally verify")

// addRow takes a row; where its first value is its month, the row goes to that one's
// file.
func (w *taskWriter) addRow(values [][]byte) error {
	if w.table.by != months {
		return w.open[0].file.addRow(values)
	}
	first, err := parseDate(values[0])
	if err != nil {
		return err
	}
	f, ok := w.byMonth[first]
	if !ok {
		return errStrayMonth
	}
	return f.file.addRow(values[1:])
}

// finish ends the files.
func (w *taskWriter) finish() error {
	for _, f := range w.open {
		if err := f.file.close(); err != nil {
			return fmt.Errorf("%s: %w", w.lineage.path(w.table, f.partition), err)
		}
		to := f.to
		f.to = nil
		if err := to.Close(); err != nil {
			return err
		}
		w.wrote(f.partition, ManifestFile{
			Table: f.table, Month: f.monthText(), Path: w.lineage.path(w.table, f.partition),
			Rows: f.file.rows, Sum: f.file.sum().String(), Bytes: f.length, SHA256: hex.EncodeToString(f.hash.Sum(nil)),
		})
	}
	return nil
}

// abandon lets go of the files that were not finished.
func (w *taskWriter) abandon() {
	for _, f := range w.open {
		if u, ok := f.to.(interface{ abandon() }); ok {
			u.abandon()
		}
	}
}
