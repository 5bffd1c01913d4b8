package parquet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/opentax/tally/internal/money"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/pipeline"
)

// ErrBusy says that another export to the same target is going on.
var ErrBusy = errors.New("another export to the same target is in progress")

// Config says what is exported and where to.
type Config struct {
	Pool *pgxpool.Pool
	// Target is the folder or the prefix of a bucket to export to.
	Target bucket.Target
	// Replace writes every file anew, and takes the place of an export of another
	// database, or of one that cannot be read.
	Replace bool
	// Progress, if not nil, is called after each file, by one goroutine at a time.
	Progress func(pipeline.Progress)
	Logger   *slog.Logger // may be nil
}

// Result is what an export did.
type Result struct {
	Target     string `json:"target"`
	Epoch      int64  `json:"epoch"`
	LastFileID int64  `json:"last_file_id"`
	Files      int    `json:"files"`   // of the export now
	Written    int    `json:"written"` // of them by this export
	Kept       int    `json:"kept"`
	Removed    int    `json:"removed"` // that an earlier export needed, or a killed one left
	Left       int    `json:"left"`    // that were to be removed, and could not be
	Rows       int64  `json:"rows"`    // of transactions
	// TotalAmount is the exact sum of transactions.
	TotalAmount  string          `json:"total_amount"`
	Bytes        int64           `json:"bytes"`         // of all files
	BytesWritten int64           `json:"bytes_written"` // of those written
	Seconds      float64         `json:"seconds"`
	Tables       []ManifestTable `json:"tables"`
}

// export is one call of Export.
type export struct {
	Config
	snapshot *snapshot
	state    state
	previous *Manifest
	raw      []byte // of before
	id       exportID
	existing map[string]int64 // what is at the target: bytes of each path
	encoder  *zstd.Encoder

	started time.Time

	mu       sync.Mutex
	done     map[string]ManifestFile // written or kept, by path
	deferred []*upload               // that take the place of another file
	rows     int64                   // written
	weight   int64                   // of the files that were written
	all      int64                   // of those that are to be
	result   Result
}

// Export brings the target up to date with the database: it writes the files of what
// has changed since the last export, then the manifest, then removes what that does not
// name. It changes nothing in the database and blocks nothing there. An error leaves
// the last export as it was, and the next one cleans up.
func Export(ctx context.Context, c Config) (Result, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	e := &export{Config: c, started: time.Now(), done: map[string]ManifestFile{}, result: Result{Target: c.Target.String()}}
	err := e.run(ctx)
	e.result.Seconds = time.Since(e.started).Seconds()
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
		return e.result, fmt.Errorf("export to %s: %w", c.Target, bucket.Redact(err))
	}
	c.Logger.InfoContext(ctx, "exported", "target", c.Target.String(), "files", e.result.Files, "written", e.result.Written,
		"removed", e.result.Removed, "rows", e.result.Rows, "bytes_written", e.result.BytesWritten, "seconds", e.result.Seconds)
	return e.result, nil
}

func (e *export) run(ctx context.Context) (err error) {
	if e.encoder, err = newEncoder(); err != nil {
		return err
	}
	if e.snapshot, err = openSnapshot(ctx, e.Pool, e.Target.String()); err != nil {
		return err
	}
	defer e.snapshot.close(ctx)
	if e.state, err = e.snapshot.state(ctx); err != nil {
		return err
	}
	if err := e.inspectTarget(ctx); err != nil {
		return err
	}
	defer e.discard()
	if err := e.write(ctx); err != nil {
		return err
	}
	manifest, err := e.manifest()
	if err != nil {
		return err
	}
	if err := e.publish(ctx, manifest); err != nil {
		return err
	}
	e.cleanUp(ctx, manifest)
	return nil
}

// newEncoder compresses on the caller's goroutine.
func newEncoder() (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithEncoderConcurrency(readers), zstd.WithEncoderLevel(zstd.SpeedDefault))
}

// tasks are what is to be written; what is there already is noted as done.
func (e *export) tasks() []task {
	var list []task
	for _, t := range tables() {
		var changed []partition
		for _, p := range e.state.partitions(t) {
			path := e.id.path(t, p)
			if known, ok := e.previous.file(path); ok && !e.Replace && e.existing[path] == known.Bytes {
				e.done[path] = known
				continue
			}
			changed = append(changed, p)
			e.all += p.weight
		}
		list = append(list, t.tasks(changed)...)
	}
	// The longest first, so that none is left for the end.
	slices.SortStableFunc(list, func(a, b task) int { return cmp.Compare(b.weight, a.weight) })
	return list
}

// write carries the tasks out. Files that are held back are finished when all tasks are,
// so that their context is the longer one.
func (e *export) write(ctx context.Context) error {
	tasks := e.tasks()
	e.result.Kept = len(e.done)
	group, reading := errgroup.WithContext(ctx)
	e.read(reading, group, tasks, taskWriter{
		create:  func(t table, p partition) (io.WriteCloser, error) { return e.create(ctx, t, p) },
		written: e.written,
	})
	if err := group.Wait(); err != nil {
		return err
	}
	for _, u := range e.deferred {
		if err := u.finish(); err != nil {
			return err
		}
	}
	e.deferred = nil
	return nil
}

// read has the group carry tasks out, as many at a time as there are readers, each with a
// writer like this one.
func (e *export) read(ctx context.Context, group *errgroup.Group, tasks []task, like taskWriter) {
	like.id, like.encoder = e.id, e.encoder
	queue := queued(tasks)
	for reader := range e.snapshot.conns {
		group.Go(func() error {
			for t := range queue {
				w := like
				w.task = t
				if err := w.write(ctx, e.snapshot, reader); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// queued is a list for several to take from.
func queued[T any](list []T) <-chan T {
	queue := make(chan T, len(list))
	for _, one := range list {
		queue <- one
	}
	close(queue)
	return queue
}

// manifest is that of the files that are there now, once they add up.
func (e *export) manifest() (*Manifest, error) {
	m := &Manifest{Format: Format, Database: e.state.database, Generation: e.id.generation, Epoch: e.state.epoch, LastFileID: e.state.lastFile}
	for _, t := range tables() {
		var all []ManifestFile
		for _, p := range e.state.partitions(t) {
			f, ok := e.done[e.id.path(t, p)]
			if !ok {
				return nil, fmt.Errorf("%s of %s was not written", t.name, p.monthText())
			}
			if p.rows >= 0 && f.Rows != p.rows {
				return nil, &SumError{t.name, p.monthText(), fmt.Sprint(f.Rows, " rows"), fmt.Sprint("the rollups count ", p.rows)}
			}
			all = append(all, f)
		}
		total, rows := money.Sum{}, int64(0)
		for _, f := range all {
			sum, err := money.Parse(f.Sum)
			if err != nil {
				return nil, fmt.Errorf("%s: sum: %w", f.Path, err)
			}
			total, rows = total.Plus(sum), rows+f.Rows
		}
		m.Files = append(m.Files, all...)
		m.Tables = append(m.Tables, ManifestTable{Table: t.name, Files: len(all), Rows: rows, Sum: total.String()})
	}
	return m, m.checkSums()
}

// wrote notes a file that is whole.
func (e *export) written(p partition, f ManifestFile) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.done[f.Path] = f
	e.result.Written++
	e.result.BytesWritten += f.Bytes
	e.rows += f.Rows
	e.weight += p.weight
	if e.Progress != nil {
		e.Progress(pipeline.Progress{
			Path: e.Target.String(), Stage: pipeline.StageExport, Rows: e.rows,
			Share: float64(e.weight) / float64(max(e.all, 1)), Seconds: time.Since(e.started).Seconds(),
		})
	}
}
