package parquet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"

	"github.com/opentax/tally/internal/civil"

	"github.com/klauspost/compress/zstd"
)

// partitions are the files of a table as the database is now.
func (s state) partitions(t table) []partition {
	if t.by == whole {
		p := partition{table: t.name, state: s.summaries, rows: -1, weight: s.users}
		if t.name == "user_summary" {
			p.rows = s.users
		}
		return []partition{p}
	}
	if len(s.months) == 0 {
		return []partition{{table: t.name}}
	}
	var list []partition
	for _, m := range s.months {
		p := partition{table: t.name, month: m.month, state: m.fingerprint, rows: -1, weight: m.rows}
		if t.by == month {
			p.rows = m.rows
		}
		list = append(list, p)
	}
	return list
}

// task is what one reading of the database gives: one file, or several at a time.
type task struct {
	table  table
	files  []partition
	weight int64
}

// maxOpenFiles bounds the files that one reading writes, each of which holds some megabytes.
const maxOpenFiles = 16

// tasks are the readings that give these partitions of the table.
func (t table) tasks(partitions []partition) []task {
	atOnce := 1
	if t.by == months {
		atOnce = maxOpenFiles
	}
	var list []task
	for files := range slices.Chunk(partitions, atOnce) {
		made := task{table: t, files: files}
		for _, p := range files {
			made.weight += p.weight
		}
		list = append(list, made)
	}
	return list
}

// taskWriter writes the rows of a task into its files.
type taskWriter struct {
	task
	id      exportID
	create  func(table, partition) (io.WriteCloser, error)
	encoder *zstd.Encoder
	written func(partition, ManifestFile)

	open    []*partitionFile              // of the task's files
	byMonth map[civil.Date]*partitionFile // by its first day, which the first column has
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

// write reads the task's rows and writes its files.
func (w *taskWriter) write(ctx context.Context, s *snapshot, reader int) error {
	defer w.discard()
	if err := w.begin(); err != nil {
		return err
	}
	if err := s.read(ctx, reader, w.task, w.addRow); err != nil {
		return fmt.Errorf("%s: %w", w.table.name, err)
	}
	return w.finish()
}

// begin opens every file of the task: also those for which no row will come.
func (w *taskWriter) begin() error {
	w.byMonth = map[civil.Date]*partitionFile{}
	for _, p := range w.files {
		to, err := w.create(w.table, p)
		if err != nil {
			return err
		}
		f := &partitionFile{partition: p, to: to, hash: sha256.New()}
		w.open = append(w.open, f)
		w.byMonth[p.month.First()] = f
		if f.file, err = newFile(f, w.table, w.encoder); err != nil {
			return err
		}
	}
	return nil
}

var errUnknownMonth = errors.New("a row of a month that has no transactions: run tally verify")

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
		return errUnknownMonth
	}
	return f.file.addRow(values[1:])
}

// finish ends the files.
func (w *taskWriter) finish() error {
	for _, f := range w.open {
		if err := f.file.close(); err != nil {
			return fmt.Errorf("%s: %w", w.id.path(w.table, f.partition), err)
		}
		to := f.to
		f.to = nil
		if err := to.Close(); err != nil {
			return err
		}
		w.written(f.partition, ManifestFile{
			Table: f.table, Month: f.monthText(), Path: w.id.path(w.table, f.partition),
			Rows: f.file.rows, Sum: f.file.sum().String(), Bytes: f.length, SHA256: hex.EncodeToString(f.hash.Sum(nil)),
		})
	}
	return nil
}

// discard lets go of the files that were not finished.
func (w *taskWriter) discard() {
	for _, f := range w.open {
		if u, ok := f.to.(interface{ discard() }); ok {
			u.discard()
		}
	}
}
