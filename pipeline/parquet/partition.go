package parquet

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/panics"
)

// partition is the part of a table that is in one file.
type partition struct {
	ManifestFile // rows, sum, bytes and checksum once it is written

	month  civil.Month // 0: the table has no months, or no rows
	want   int64       // rows, as the rollups count them; -1: they do not
	weight int64       // rows to read, approximately
}

// noPartition is Hive's name for rows without a partition: it holds the one file of an empty
// table, so that its columns can be read.
const noPartition = "__HIVE_DEFAULT_PARTITION__"

// partitions are the files of a table for the current state of the database.
func (e *export) partitions(t table) []partition {
	s := e.state
	if t.by == whole {
		want := int64(-1)
		if t.name == "user_summary" {
			want = s.users
		}
		return []partition{e.partition(t, 0, s.summaries, want, s.users)}
	}
	var list []partition
	for _, m := range s.months {
		want := int64(-1)
		if t.by == month {
			want = m.Rows
		}
		if !m.Retired || t.by != month {
			list = append(list, e.monthPartition(t, m, want))
		}
	}
	if len(list) == 0 {
		list = []partition{e.partition(t, 0, "", 0, 0)}
	}
	return list
}

func (e *export) monthPartition(t table, m monthState, want int64) partition {
	return e.partition(t, m.First.Month(), fmt.Sprintf("%x", sha256.Sum256([]byte(m.Days))), want, m.Rows)
}

// retiredFiles are the files of retired months that an earlier export has written. They stay as they
// are: the database cannot write them again.
func (e *export) retiredFiles() (list []ManifestFile) {
	if e.previous == nil || e.previous.Database != e.state.database {
		return nil
	}
	for _, f := range e.previous.Files {
		if e.isRetired(f) {
			list = append(list, f)
		}
	}
	return list
}

func (e *export) isRetired(f ManifestFile) bool {
	return f.Table == e.tables[0].name && f.Month != "" && f.Month < e.state.retiredBefore
}

// partition names the file by a hash of its export, month and state: a file with other content,
// or of another database, never replaces one that a manifest names.
func (e *export) partition(t table, m civil.Month, state string, want, weight int64) partition {
	p := partition{ManifestFile: ManifestFile{Table: t.name}, month: m, want: want, weight: weight}
	folder := t.name + "/"
	if m != 0 {
		p.Month = m.First().String()
	}
	if t.by != whole {
		folder += "month=" + cmp.Or(p.Month, noPartition) + "/"
	}
	id := fmt.Appendf(nil, "%d %d %s %s %s %s", Format, e.generation, e.state.database, t.name, p.Month, state)
	sum := sha256.Sum256(id)
	p.Path = fmt.Sprintf("%spart-%x.parquet", folder, sum[:8])
	return p
}

// task is one statement's result: one file, or several at a time.
type task struct {
	table  table
	files  []partition
	weight int64
}

// maxOpenFiles bounds the files that a task writes at once, some megabytes each.
const maxOpenFiles = 16

// tasks read these partitions of the table.
func (t table) tasks(partitions []partition) (list []task) {
	size := 1
	if t.by == months {
		size = maxOpenFiles
	}
	for files := range slices.Chunk(partitions, size) {
		made := task{table: t, files: files}
		for _, p := range files {
			made.weight += p.weight
		}
		list = append(list, made)
	}
	return list
}

// read adds a goroutine to the group for each connection, which carry out the tasks.
func (e *export) read(ctx context.Context, group *errgroup.Group, tasks []task) {
	queue := make(chan task, len(tasks))
	for _, t := range tasks {
		queue <- t
	}
	close(queue)
	for reader := range e.snapshot.conns {
		group.Go(func() (err error) {
			defer panics.Recover(&err)
			for t := range queue {
				w := taskWriter{export: e, task: t, byMonth: map[civil.Date]*partitionFile{}}
				if err := w.write(ctx, reader); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

type taskWriter struct {
	*export
	task
	open    []*partitionFile
	byMonth map[civil.Date]*partitionFile
}

func (w *taskWriter) write(ctx context.Context, reader int) error {
	defer func() {
		for _, f := range w.open {
			f.discard()
		}
	}()
	for _, p := range w.files { // also those without rows
		if err := w.begin(p); err != nil {
			return err
		}
	}
	if err := w.snapshot.read(ctx, reader, w.task, w.addRow); err != nil {
		return fmt.Errorf("%s: %w", w.table.name, err)
	}
	for ; len(w.open) > 0; w.open = w.open[1:] {
		if err := w.end(w.open[0]); err != nil {
			return err
		}
	}
	return nil
}

func (w *taskWriter) begin(p partition) (err error) {
	f := &partitionFile{partition: p, hash: sha256.New()}
	if w.create != nil {
		if f.to, f.cancel, err = w.create(p.Path); err != nil {
			return fmt.Errorf("write %s: %w", p.Path, err)
		}
	}
	w.open = append(w.open, f)
	w.byMonth[p.month.First()] = f
	f.file, err = newFile(f, w.table, w.encoder)
	return err
}

var errUnknownMonth = errors.New("a row of a month that has no transactions: run tally verify")

// addRow adds a row to the file of its month, which may be the first value.
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

func (w *taskWriter) end(f *partitionFile) error {
	if err := f.file.close(); err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	f.Rows, f.Sum, f.SHA256 = f.file.rows, f.file.sum().String(), hex.EncodeToString(f.hash.Sum(nil))
	f.file = nil
	if !w.deferFile(f) {
		if err := f.close(); err != nil {
			return err
		}
	}
	w.written(f.partition)
	return nil
}

// maxDeferred bounds the deferred files, each with an open object.
const maxDeferred = 16

// deferFile reports whether the file's close is deferred until all files are written: of one that
// replaces another, so that readers of the folders without the manifest see a month twice only
// for a moment, unless very many have changed.
func (e *export) deferFile(f *partitionFile) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.deferred) == maxDeferred || f.to == nil || !e.replaces(f.Path) {
		return false
	}
	e.deferred = append(e.deferred, f)
	return true
}

// replaces reports whether the target has another file of the same partition.
func (e *export) replaces(name string) bool {
	folder := path.Dir(name) + "/"
	for other := range e.existing {
		if other != name && strings.HasPrefix(other, folder) && strings.HasSuffix(other, ".parquet") {
			return true
		}
	}
	return false
}

type partitionFile struct {
	partition
	file   *file
	hash   hash.Hash
	to     io.WriteCloser // nil: nowhere, or closed
	cancel context.CancelFunc
}

// Write writes to the target, and updates length and checksum.
func (f *partitionFile) Write(b []byte) (n int, err error) {
	if n = len(b); f.to != nil {
		n, err = f.to.Write(b)
	}
	f.hash.Write(b[:n])
	f.Bytes += int64(n)
	return n, err
}

// close makes the file appear at the target.
func (f *partitionFile) close() error {
	if f.to == nil {
		return nil
	}
	defer f.cancel()
	err := f.to.Close()
	if f.to = nil; err != nil {
		return fmt.Errorf("write %s: %w", f.Path, err)
	}
	return nil
}

// discard removes a file that is not closed.
func (f *partitionFile) discard() {
	if f.to != nil {
		f.cancel()
		_ = f.to.Close() // reports the cancellation
	}
}
