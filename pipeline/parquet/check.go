package parquet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/opentax/tally/internal/bucket"
)

// Drift is one difference between an export and the database.
type Drift struct {
	Table string `json:"table"`
	Month string `json:"month,omitempty"`
	Path  string `json:"path"`
	// Problem is what is wrong: missing, damaged, stale, different or stray.
	Problem string `json:"problem"`
	Detail  string `json:"detail"`
}

// What can be wrong with a file of an export.
const (
	Missing   = "missing"   // the manifest names it, and it is not there
	Damaged   = "damaged"   // it has other bytes than were written
	Stale     = "stale"     // the database has changed since, or has rows that are not exported
	Different = "different" // the database has not changed, and still has other rows
	Stray     = "stray"     // the manifest does not name it, so it is of no export
)

func (d Drift) String() string { return fmt.Sprintf("%s: %s: %s", d.Path, d.Problem, d.Detail) }

// Checked is what Check looked at.
type Checked struct {
	Target string  `json:"target"`
	Files  int     `json:"files"`
	Rows   int64   `json:"rows"` // of transactions, in the export
	Bytes  int64   `json:"bytes"`
	Drifts []Drift `json:"drifts"`
}

// Clean says that nothing differs.
func (c Checked) Clean() bool { return len(c.Drifts) == 0 }

// check is one call of Check.
type check struct {
	export
	drifts []Drift // under mu
}

// Check compares an export with the database, in one snapshot: every file that the
// manifest names exists and has the bytes that were written, and those are the bytes
// that the database's rows would give now. It writes nothing. That there is no
// export is [fs.ErrNotExist].
func Check(ctx context.Context, c Config) (Checked, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Replace = false
	for try := 1; ; try++ {
		k := &check{export: export{Config: c, done: map[string]ManifestFile{}}}
		checked, err := k.run(ctx)
		if errors.Is(err, errConcurrent) && try < checkTries {
			continue
		}
		if err != nil {
			return checked, fmt.Errorf("check the export at %s: %w", c.Target, bucket.Redact(err))
		}
		return checked, nil
	}
}

// checkTries is how often a check begins anew, since an export was made meanwhile.
const checkTries = 3

func (k *check) run(ctx context.Context) (checked Checked, err error) {
	checked.Target = k.Target.String()
	if k.encoder, err = newEncoder(); err != nil {
		return checked, err
	}
	if k.snapshot, err = openSnapshot(ctx, k.Pool, ""); err != nil {
		return checked, err
	}
	defer k.snapshot.close(ctx)
	if k.state, err = k.snapshot.state(ctx); err != nil {
		return checked, err
	}
	if err := k.inspectTarget(ctx); err != nil {
		return checked, err
	}
	if k.previous == nil {
		return checked, fmt.Errorf("%s: %w", ManifestName, fs.ErrNotExist)
	}
	for _, f := range k.previous.Files {
		checked.Files++
		checked.Bytes += f.Bytes
		if f.Table == "transactions" {
			checked.Rows += f.Rows
		}
	}
	if err := k.compare(ctx); err != nil {
		return checked, err
	}
	if err := k.checkOwnership(ctx); err != nil {
		return checked, err
	}
	checked.Drifts = append([]Drift{}, k.drifts...)
	slices.SortFunc(checked.Drifts, func(a, b Drift) int { return strings.Compare(a.Path+a.Problem, b.Path+b.Problem) })
	return checked, nil
}

func (k *check) drift(f ManifestFile, problem, format string, args ...any) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.drifts = append(k.drifts, Drift{f.Table, f.Month, f.Path, problem, fmt.Sprintf(format, args...)})
}

// compare reads the export and the database, side by side.
func (k *check) compare(ctx context.Context) error {
	k.strays()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		for _, f := range k.previous.Files {
			if err := k.readBack(ctx, f); err != nil {
				return err
			}
		}
		return nil
	})
	k.read(ctx, group, k.rereads(), taskWriter{
		create:  func(table, partition) (io.WriteCloser, error) { return discarded{io.Discard}, nil },
		written: k.compareFile,
	})
	return group.Wait()
}

// strays reports what is at the target and in no export.
func (k *check) strays() {
	for path := range k.existing {
		if _, named := k.previous.file(path); !named && path != ManifestName && strings.HasSuffix(path, ".parquet") {
			table, _, _ := strings.Cut(path, "/")
			k.drift(ManifestFile{Table: table, Path: path}, Stray,
				"the manifest does not name it: a reader of the folder would count its rows as well; the next export removes it if it was an export's")
		}
	}
}

// readBack compares a file with its entry in the manifest.
func (k *check) readBack(ctx context.Context, f ManifestFile) error {
	r, err := k.Target.Open(ctx, f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		k.drift(f, Missing, "the manifest names it, and it is not there: export again")
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", f.Path, err)
	}
	sum := sha256.New()
	n, err := io.Copy(sum, r)
	if err = errors.Join(err, r.Close()); err != nil {
		return fmt.Errorf("read %s: %w", f.Path, err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); n != f.Bytes || got != f.SHA256 {
		k.drift(f, Damaged, "it has %d bytes with checksum %s, and %d with %s were written: export again with --replace", n, got, f.Bytes, f.SHA256)
	}
	return nil
}

// rereads are the readings of the whole database. What the export has of months that
// the database has not is reported here.
func (k *check) rereads() []task {
	wanted := map[string]bool{}
	var list []task
	for _, t := range tables() {
		all := k.state.partitions(t)
		for _, p := range all {
			wanted[p.table+p.monthText()] = true
		}
		list = append(list, t.tasks(all)...)
	}
	for _, f := range k.previous.Files {
		if !wanted[f.Table+f.Month] {
			k.drift(f, Stale, "the export has %d rows with a sum of %s, and the database none: export again", f.Rows, f.Sum)
		}
	}
	return list
}

// discarded takes what would be written.
type discarded struct{ io.Writer }

// Close does nothing.
func (discarded) Close() error { return nil }

// compareFile compares a partition as it would be written now with the manifest.
func (k *check) compareFile(_ partition, now ManifestFile) {
	if f, ok := k.previous.file(now.Path); ok {
		if f.SHA256 != now.SHA256 {
			k.drift(f, Different, "the export has %d rows with a sum of %s, and the database %d with %s, though no load has changed them: "+
				"run tally verify, then export with --replace", f.Rows, f.Sum, now.Rows, now.Sum)
		}
		return
	}
	for _, f := range k.previous.Files {
		if f.Table == now.Table && f.Month == now.Month {
			k.drift(f, Stale, "the export has %d rows with a sum of %s, and the database %d with %s: export again", f.Rows, f.Sum, now.Rows, now.Sum)
			return
		}
	}
	k.drift(now, Stale, "the export has none, and the database %d rows with a sum of %s: export again", now.Rows, now.Sum)
}
