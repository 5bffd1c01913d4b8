package parquet

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/pipeline"
)

// ErrBusy is returned while another export to the same target is in progress.
var ErrBusy = errors.New("another export to the same target is in progress")

// Config is the configuration of an export; Pool and Target are required.
type Config struct {
	Pool   *pgxpool.Pool
	Target bucket.Target
	// Replace writes every file again, and replaces an export of another database, or one
	// that cannot be read.
	Replace  bool
	Progress func(pipeline.Progress) // if not nil, called after each file, by one goroutine at a time
	Logger   *slog.Logger            // may be nil
}

// Result describes an export that was made.
type Result struct {
	Target     string `json:"target"`
	Epoch      int64  `json:"epoch"`
	LastFileID int64  `json:"last_file_id"`
	Files      int    `json:"files"`   // of the export now
	Written    int    `json:"written"` // of them by this export
	Kept       int    `json:"kept"`
	Removed    int    `json:"removed"` // of an earlier or a killed export
	Left       int    `json:"left"`    // could not be removed
	Rows       int64  `json:"rows"`    // of transactions
	// TotalAmount is the exact sum of transactions.
	TotalAmount  string          `json:"total_amount"`
	Bytes        int64           `json:"bytes"`         // of all files
	BytesWritten int64           `json:"bytes_written"` // of those written
	Seconds      float64         `json:"seconds"`
	Tables       []ManifestTable `json:"tables"`
}

type export struct {
	Config
	started    time.Time
	tables     []table
	encoder    *zstd.Encoder
	snapshot   snapshot
	state      state
	content    []byte    // of the target's manifest
	previous   *Manifest // nil: none
	generation int
	existing   map[string]int64 // the target's files, with their lengths in bytes

	// create begins a file at the target. nil: files are only compared.
	create  func(path string) (io.WriteCloser, context.CancelFunc, error)
	written func(partition) // called after each file

	mu       sync.Mutex
	done     map[string]ManifestFile // written or kept, by path
	deferred []*partitionFile        // to be closed after all others
	rows     int64                   // written
	weight   int64                   // of the written files
	all      int64                   // of the files to write
	result   Result
}

func newExport(c Config) export {
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	return export{
		Config: c, started: time.Now(), tables: tables(), done: map[string]ManifestFile{}, existing: map[string]int64{},
		result: Result{Target: c.Target.String()},
	}
}

// Export brings the target up to date with the database: it writes the files of what changed
// since the last export, then the manifest, then removes the files that it does not name. It
// changes nothing in the database and blocks nothing there. After an error the last export is
// as it was, and the next export cleans up.
func Export(ctx context.Context, c Config) (Result, error) {
	e := newExport(c)
	err := e.run(ctx)
	r := &e.result
	r.Seconds = time.Since(e.started).Seconds()
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
		return *r, fmt.Errorf("export to %s: %w", c.Target, bucket.Redact(err))
	}
	e.Logger.InfoContext(ctx, "exported", "target", r.Target, "files", r.Files, "written", r.Written,
		"removed", r.Removed, "rows", r.Rows, "bytes_written", r.BytesWritten, "seconds", r.Seconds)
	return *r, nil
}

func (e *export) run(ctx context.Context) error {
	defer e.snapshot.close(ctx)
	if err := e.open(ctx, e.Target.String()); err != nil {
		return err
	}
	defer func() {
		for _, f := range e.deferred {
			f.discard()
		}
	}()
	if err := e.write(ctx); err != nil {
		return err
	}
	m, err := e.manifest()
	if err == nil {
		err = e.publish(ctx, m)
	}
	if err == nil {
		e.cleanUp(ctx, m)
	}
	return err
}

// open takes the snapshot and inspects the target. With a lock of that name no other export
// takes it.
func (e *export) open(ctx context.Context, lock string) (err error) {
	if e.encoder, err = newEncoder(); err != nil {
		return err
	}
	if err := e.snapshot.open(ctx, e.Pool, lock); err != nil {
		return fmt.Errorf("take a snapshot: %w", err)
	}
	if e.state, err = e.snapshot.state(ctx); err != nil {
		return err
	}
	return e.inspectTarget(ctx)
}

// newEncoder compresses on the caller's goroutine.
func newEncoder() (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithEncoderConcurrency(readers), zstd.WithEncoderLevel(zstd.SpeedDefault))
}

// tasks write what changed; unchanged files are done.
func (e *export) tasks() []task {
	var list []task
	for _, t := range e.tables {
		var changed []partition
		for _, p := range e.partitions(t) {
			if known, ok := e.previous.file(p.Path); ok && !e.Replace && e.existing[p.Path] == known.Bytes {
				e.done[p.Path] = known
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

// write carries out the tasks, then closes the deferred files.
func (e *export) write(ctx context.Context) error {
	tasks := e.tasks()
	e.result.Kept, e.written = len(e.done), e.record
	e.create = func(path string) (io.WriteCloser, context.CancelFunc, error) {
		// Not with the group's context, which ends before deferred files are closed.
		ctx, cancel := context.WithCancel(ctx)
		w, err := e.Target.Create(ctx, path)
		if err != nil {
			cancel()
		}
		return w, cancel, err
	}
	group, reading := errgroup.WithContext(ctx)
	e.read(reading, group, tasks)
	if err := group.Wait(); err != nil {
		return err
	}
	for _, f := range e.deferred {
		if err := f.close(); err != nil {
			return err
		}
	}
	return nil
}

func (e *export) record(p partition) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.done[p.Path] = p.ManifestFile
	e.result.Written++
	e.result.BytesWritten += p.Bytes
	e.rows += p.Rows
	e.weight += p.weight
	if e.Progress != nil {
		e.Progress(pipeline.Progress{
			Path: e.Target.String(), Stage: pipeline.StageExport, Rows: e.rows,
			Share: float64(e.weight) / float64(max(e.all, 1)), Seconds: time.Since(e.started).Seconds(),
		})
	}
}

// publish writes the manifest, unless it is unchanged.
func (e *export) publish(ctx context.Context, m *Manifest) error {
	r := &e.result
	r.Epoch, r.LastFileID, r.Files, r.Tables = m.Epoch, m.LastFileID, len(m.Files), m.Tables
	r.Rows, r.TotalAmount = m.Tables[0].Rows, m.Tables[0].Sum
	for _, f := range m.Files {
		r.Bytes += f.Bytes
	}
	content, err := m.encode()
	if err != nil || bytes.Equal(e.content, content) {
		return err
	}
	if err := e.checkOwnership(ctx); err != nil {
		return err
	}
	if err := bucket.WriteFile(ctx, e.Target, ManifestName, content); err != nil {
		return fmt.Errorf("write %s: %w", ManifestName, err)
	}
	return nil
}

// cleanUp removes the files that the manifest does not name. The export is complete without it:
// the next export removes what cannot be removed now.
func (e *export) cleanUp(ctx context.Context, m *Manifest) {
	for path := range e.existing {
		if _, named := m.file(path); named || path == ManifestName || !ownFiles.MatchString(path) {
			continue
		}
		err := e.Target.Remove(ctx, path)
		switch {
		case err == nil:
			e.result.Removed++
		case !errors.Is(err, fs.ErrNotExist):
			e.result.Left++
			e.Logger.WarnContext(ctx, "an obsolete file of the export could not be removed",
				"target", e.Target.String(), "path", path, "error", bucket.Redact(err))
		}
		if ctx.Err() != nil {
			return
		}
	}
}
