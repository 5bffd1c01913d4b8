package parquet

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/klauspost/compress/zstd"
	"github.com/shopspring/decimal"
	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
	"golang.org/x/sync/errgroup"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/pipeline"
)

// ErrBusy says that another export to the same target is going on.
var ErrBusy = errors.New("another export to the same place is going on")

// Config says what is exported and where to.
type Config struct {
	Pool *pgxpool.Pool
	// Bucket is the target; it stays the caller's to close.
	Bucket *blob.Bucket
	// Target is how the target is called in errors and results.
	Target string
	// Sync, if not nil, makes a file of the bucket, or with "" the names in it, outlast
	// a power cut.
	Sync func(path string) error
	// WriteFile, if not nil, writes the manifest in one piece that outlasts a power cut.
	WriteFile func(ctx context.Context, path string, content []byte) error
	// Replace writes every file anew, and takes the place of an export of another
	// database, or of one that cannot be read.
	Replace bool
	// Progress, if not nil, hears of each file that was written, from one goroutine at
	// a time.
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
	before   *Manifest
	raw      []byte // of before
	lineage  lineage
	there    map[string]int64 // what is at the target: bytes of each path
	encoder  *zstd.Encoder

	started time.Time

	mu      sync.Mutex
	done    map[string]ManifestFile // written or kept, by path
	waiting []*upload               // that take the place of another file
	rows    int64                   // written
	weight  int64                   // of the files that were written
	all     int64                   // of those that are to be
	result  Result
}

// Export brings the target up to date with the database: it writes the files of what
// has changed since the last export, then the manifest, then removes what that does not
// name. It changes nothing in the database, and holds nobody up there. An error leaves
// the last export as it was, and the next one cleans up.
func Export(ctx context.Context, c Config) (Result, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	e := &export{Config: c, started: time.Now(), done: map[string]ManifestFile{}, result: Result{Target: c.Target}}
	err := e.run(ctx)
	e.result.Seconds = time.Since(e.started).Seconds()
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
		return e.result, fmt.Errorf("export to %s: %w", c.Target, bucket.Shown(err))
	}
	c.Logger.InfoContext(ctx, "exported", "target", c.Target, "files", e.result.Files, "written", e.result.Written,
		"removed", e.result.Removed, "rows", e.result.Rows, "bytes_written", e.result.BytesWritten, "seconds", e.result.Seconds)
	return e.result, nil
}

func (e *export) run(ctx context.Context) (err error) {
	if e.encoder, err = newEncoder(); err != nil {
		return err
	}
	if e.snapshot, err = openSnapshot(ctx, e.Pool, e.Target); err != nil {
		return err
	}
	defer e.snapshot.close(ctx)
	if e.state, err = e.snapshot.state(ctx); err != nil {
		return err
	}
	if err := e.lookAround(ctx); err != nil {
		return err
	}
	defer e.abandon()
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

// lookAround reads the last manifest, and lists what is at the target.
func (e *export) lookAround(ctx context.Context) error {
	var err error
	e.raw, err = e.readManifest(ctx)
	if err != nil {
		return err
	}
	e.before, err = decodeManifest(e.raw, e.Target)
	if bad, ok := errors.AsType[*ManifestError](err); ok && e.Replace {
		e.Logger.WarnContext(ctx, "the manifest is replaced", "target", e.Target, "reason", bad.Reason)
		err = nil
	}
	if err != nil {
		return err
	}
	if e.before != nil && e.before.Database != e.state.database && !e.Replace {
		return &ManifestError{e.Target, "it is of another database (" + e.before.Database + ")", replaceHint}
	}
	if err := e.list(ctx); err != nil {
		return err
	}
	e.lineage = lineage{database: e.state.database}
	if e.before != nil {
		e.lineage.generation = e.before.Generation
	}
	for e.Replace && e.taken() {
		e.lineage.generation++
	}
	return nil
}

// taken tells whether a file that is to be written is there already, under that name.
func (e *export) taken() bool {
	for _, t := range tables() {
		for _, p := range e.state.partitions(t) {
			if _, there := e.there[e.lineage.path(t, p)]; there {
				return true
			}
		}
	}
	return false
}

// list notes what is at the target.
func (e *export) list(ctx context.Context) error {
	e.there = map[string]int64{}
	prefixes := []string{ManifestName}
	for _, t := range tables() {
		prefixes = append(prefixes, t.name+"/")
	}
	for _, prefix := range prefixes {
		list := e.Bucket.List(&blob.ListOptions{Prefix: prefix})
		for {
			var object *blob.ListObject
			err := patiently(ctx, func(ctx context.Context) (err error) {
				object, err = list.Next(ctx)
				return err
			})
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return fmt.Errorf("list %s: %w", prefix, err)
			}
			e.there[object.Key] = object.Size
		}
	}
	return nil
}

// partitions are the files of a table as the database is now.
func (s state) partitions(t table) []partition {
	if t.by == whole {
		return []partition{{table: t.name, state: s.summaries, rows: s.users, weight: s.users}}
	}
	if len(s.months) == 0 {
		return []partition{{table: t.name}}
	}
	var list []partition
	for _, m := range s.months {
		p := partition{table: t.name, month: m.month, state: m.fingerprint, rows: -1, weight: m.rows}
		if t.name == "transactions" {
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

// mostOpen bounds the files that one reading writes, each of which holds some megabytes.
const mostOpen = 16

// tasks are what is to be written; what is there already is noted as done.
func (e *export) tasks() []task {
	var list []task
	for _, t := range tables() {
		var changed []partition
		for _, p := range e.state.partitions(t) {
			path := e.lineage.path(t, p)
			if known, ok := e.before.file(path); ok && !e.Replace && e.there[path] == known.Bytes {
				e.done[path] = known
				continue
			}
			changed = append(changed, p)
		}
		atOnce := 1
		if t.by == months {
			atOnce = mostOpen
		}
		for files := range slices.Chunk(changed, atOnce) {
			made := task{table: t, files: files}
			for _, p := range files {
				made.weight += p.weight
			}
			e.all += made.weight
			list = append(list, made)
		}
	}
	// The longest first, so that none is left for the end.
	slices.SortStableFunc(list, func(a, b task) int { return cmp.Compare(b.weight, a.weight) })
	return list
}

// write carries the tasks out, as many at a time as there are readers.
func (e *export) write(ctx context.Context) error {
	tasks := e.tasks()
	e.result.Kept = len(e.done)
	queue := make(chan task, len(tasks))
	for _, t := range tasks {
		queue <- t
	}
	close(queue)
	group, reading := errgroup.WithContext(ctx)
	for reader := range e.snapshot.conns {
		group.Go(func() error {
			for t := range queue {
				if err := e.carryOut(reading, ctx, reader, t); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, u := range e.waiting {
		if err := e.finish(u); err != nil {
			return err
		}
	}
	e.waiting = nil
	return nil
}

// carryOut writes the files of a task. Some of them are finished when all tasks are, so
// that their context is the longer one.
func (e *export) carryOut(ctx, writing context.Context, reader int, t task) error {
	w := &taskWriter{task: t, lineage: e.lineage, encoder: e.encoder, wrote: e.wrote}
	w.create = func(p partition) (io.WriteCloser, error) { return e.create(writing, t.table, p) }
	defer w.abandon()
	if err := w.begin(); err != nil {
		return err
	}
	if err := e.snapshot.readTable(ctx, reader, t, w.addRow); err != nil {
		return fmt.Errorf("%s: %w", t.table.name, err)
	}
	return w.finish()
}

// manifest is that of the files that are there now, once they add up.
func (e *export) manifest() (*Manifest, error) {
	m := &Manifest{Format: Format, Database: e.state.database, Generation: e.lineage.generation, Epoch: e.state.epoch, LastFileID: e.state.lastFile}
	for _, t := range tables() {
		var all []ManifestFile
		for _, p := range e.state.partitions(t) {
			f, ok := e.done[e.lineage.path(t, p)]
			if !ok {
				return nil, fmt.Errorf("%s of %s was not written", t.name, p.monthText())
			}
			if p.rows >= 0 && f.Rows != p.rows {
				return nil, &SumError{t.name, p.monthText(), fmt.Sprint(f.Rows, " rows"), fmt.Sprint("the rollups count ", p.rows)}
			}
			all = append(all, f)
		}
		total, rows := decimal.Decimal{}, int64(0)
		for _, f := range all {
			sum, err := decimal.NewFromString(f.Sum)
			if err != nil {
				return nil, fmt.Errorf("%s: sum: %w", f.Path, err)
			}
			total, rows = total.Add(sum), rows+f.Rows
		}
		m.Files = append(m.Files, all...)
		m.Tables = append(m.Tables, ManifestTable{Table: t.name, Files: len(all), Rows: rows, Sum: total.String()})
	}
	return m, m.addsUp()
}

// SumError says that what was read does not agree with itself, so that the export would
// not either.
type SumError struct{ Table, Month, Read, Want string }

func (e *SumError) Error() string {
	of := e.Table
	if e.Month != "" {
		of += " of " + e.Month
	}
	return fmt.Sprintf("%s has %s, but %s: run tally verify", of, e.Read, e.Want)
}

// ValueError is a value that the export's types do not hold.
type ValueError struct {
	Key string // which row, such as "user_id 7"
	Err error
}

func (e *ValueError) Error() string { return e.Key + ": " + e.Err.Error() }

func (e *ValueError) Unwrap() error { return e.Err }

// Lasting tells whether an error of Export is one of the data or of the export that is
// there, which trying again does not change.
func Lasting(err error) bool {
	_, sum := errors.AsType[*SumError](err)
	_, value := errors.AsType[*ValueError](err)
	_, manifest := errors.AsType[*ManifestError](err)
	return sum || value || manifest || errors.Is(err, errStrayMonth)
}

// addsUp holds the rollups' sums against those of the transactions, by month and whole.
func (m *Manifest) addsUp() error {
	sums := map[string]string{}
	for _, f := range m.Files {
		if f.Table == "transactions" {
			sums[f.Month] = f.Sum
		}
	}
	for _, f := range m.Files {
		if want, ok := sums[f.Month]; ok && f.Sum != want {
			return &SumError{f.Table, f.Month, "a sum of " + f.Sum, "transactions has " + want}
		}
	}
	for _, t := range m.Tables {
		if want := m.Tables[0].Sum; t.Sum != want {
			return &SumError{t.Table, "", "a sum of " + t.Sum, "transactions has " + want}
		}
	}
	return nil
}

// publish writes the manifest, unless it is there already.
func (e *export) publish(ctx context.Context, m *Manifest) error {
	r := &e.result
	r.Epoch, r.LastFileID, r.Files, r.Tables = m.Epoch, m.LastFileID, len(m.Files), m.Tables
	r.Rows, r.TotalAmount = m.Tables[0].Rows, m.Tables[0].Sum
	for _, f := range m.Files {
		r.Bytes += f.Bytes
	}
	content, err := m.encode()
	if err != nil {
		return err
	}
	if bytes.Equal(e.raw, content) {
		return nil
	}
	if err := e.unchallenged(ctx); err != nil {
		return err
	}
	if err := e.sync(""); err != nil {
		return err
	}
	write := e.WriteFile
	if write == nil {
		write = func(ctx context.Context, path string, content []byte) error {
			return e.Bucket.WriteAll(ctx, path, content, &blob.WriterOptions{ContentType: "application/json"})
		}
	}
	if err := patiently(ctx, func(ctx context.Context) error { return write(ctx, ManifestName, content) }); err != nil {
		return fmt.Errorf("write %s: %w", ManifestName, err)
	}
	return e.sync(ManifestName)
}

// errOvertaken is for who has lost the target to another export; the next try sees what
// that one has left.
var errOvertaken = errors.New("another export was made here meanwhile")

// unchallenged makes sure that the target is still this export's, and its manifest the one
// that it began with: a session that was ended, by a failover or an administrator, has
// lost its lock.
func (e *export) unchallenged(ctx context.Context) error {
	if err := e.snapshot.alive(ctx); err != nil {
		return err
	}
	now, err := e.readManifest(ctx)
	if err != nil {
		return err
	}
	if !bytes.Equal(now, e.raw) {
		return errOvertaken
	}
	return nil
}

func (e *export) sync(path string) error {
	if e.Sync == nil {
		return nil
	}
	if err := e.Sync(path); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}

// cleanUp removes what was there before and is in the manifest no more. What cannot be
// removed is left to the next export: this one stands.
func (e *export) cleanUp(ctx context.Context, m *Manifest) {
	for path := range e.there {
		if _, named := m.file(path); named || path == ManifestName || !ours.MatchString(path) {
			continue
		}
		err := patiently(ctx, func(ctx context.Context) error { return e.Bucket.Delete(ctx, path) })
		switch {
		case err == nil:
			e.result.Removed++
		case gcerrors.Code(err) != gcerrors.NotFound:
			e.result.Left++
			e.Logger.WarnContext(ctx, "the export does not need this file any more, and cannot remove it", "target", e.Target, "path", path, "error", bucket.Shown(err))
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// silence is how long a store may say nothing before it counts as away.
const silence = 90 * time.Second

var errSilent = errors.New("the store has said nothing for a minute and a half")

// patiently does what ought to be short.
func patiently(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, silence, errSilent)
	defer cancel()
	err := do(ctx)
	if err != nil && errors.Is(context.Cause(ctx), errSilent) {
		return fmt.Errorf("%w: %w", errSilent, err)
	}
	return err
}

// wrote notes a file that is whole.
func (e *export) wrote(p partition, f ManifestFile) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.done[f.Path] = f
	e.result.Written++
	e.result.BytesWritten += f.Bytes
	e.rows += f.Rows
	e.weight += p.weight
	if e.Progress != nil {
		e.Progress(pipeline.Progress{
			Path: e.Target, Stage: pipeline.StageExport, Rows: e.rows,
			Share: float64(e.weight) / float64(max(e.all, 1)), Seconds: time.Since(e.started).Seconds(),
		})
	}
}
