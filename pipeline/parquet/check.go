package parquet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/panics"
)

// Drift is one difference between an export and the database.
type Drift struct {
	Table   string `json:"table"`
	Month   string `json:"month,omitempty"`
	Path    string `json:"path"`
	Problem string `json:"problem"` // missing, damaged, stale, different or stray
	Detail  string `json:"detail"`
}

// The problems of a file.
const (
	Missing   = "missing"   // the manifest names it, and it does not exist
	Damaged   = "damaged"   // it has other bytes than were written
	Stale     = "stale"     // the database has changed since, or has rows that are not exported
	Different = "different" // the database has not changed, and still has other rows
	Stray     = "stray"     // the manifest does not name it
)

func (d Drift) String() string { return fmt.Sprintf("%s: %s: %s", d.Path, d.Problem, d.Detail) }

// Checked is the result of Check.
type Checked struct {
	Target string  `json:"target"`
	Files  int     `json:"files"`
	Rows   int64   `json:"rows"` // of transactions, in the export
	Bytes  int64   `json:"bytes"`
	Drifts []Drift `json:"drifts"`
}

// Clean reports whether the export has no drifts.
func (c Checked) Clean() bool { return len(c.Drifts) == 0 }

type check struct {
	export
	checked Checked // Drifts under mu
}

// maxCheckTries bounds the checks that restart since an export was made meanwhile.
const maxCheckTries = 3

// Check compares an export with the database, in one snapshot: every file that the manifest
// names exists and has the bytes that were written, and those are the bytes that the database's
// rows would give now. It writes nothing. Without an export the error is [fs.ErrNotExist].
func Check(ctx context.Context, c Config) (checked Checked, err error) {
	c.Replace = false
	for range maxCheckTries {
		k := &check{export: newExport(c), checked: Checked{Target: c.Target.String(), Drifts: []Drift{}}}
		err = k.run(ctx)
		if checked = k.checked; !errors.Is(err, errConcurrent) {
			break
		}
	}
	if err != nil {
		return checked, fmt.Errorf("check the export at %s: %w", c.Target, bucket.Redact(err))
	}
	return checked, nil
}

func (k *check) run(ctx context.Context) error {
	defer k.snapshot.close(ctx)
	if err := k.open(ctx, ""); err != nil {
		return err
	}
	if k.previous == nil {
		return fmt.Errorf("%s: %w", ManifestName, fs.ErrNotExist)
	}
	for _, f := range k.previous.Files {
		k.checked.Files++
		k.checked.Bytes += f.Bytes
		if f.Table == "transactions" {
			k.checked.Rows += f.Rows
		}
	}
	if err := k.compare(ctx); err != nil {
		return err
	}
	slices.SortFunc(k.checked.Drifts, func(a, b Drift) int { return strings.Compare(a.Path+a.Problem, b.Path+b.Problem) })
	return k.checkOwnership(ctx)
}

func (k *check) drift(f ManifestFile, problem, format string, args ...any) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.checked.Drifts = append(k.checked.Drifts, Drift{f.Table, f.Month, f.Path, problem, fmt.Sprintf(format, args...)})
}

// compare reads the files while the whole database is read as for an export.
func (k *check) compare(ctx context.Context) error {
	for path := range k.existing {
		if _, named := k.previous.file(path); !named && path != ManifestName && strings.HasSuffix(path, ".parquet") {
			table, _, _ := strings.Cut(path, "/")
			k.drift(ManifestFile{Table: table, Path: path}, Stray,
				"the manifest does not name it: a reader of the folder would count its rows as well; the next export removes it if it was an export's")
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		defer panics.Recover(&err)
		for _, f := range k.previous.Files {
			if err := k.checkFile(ctx, f); err != nil {
				return fmt.Errorf("read %s: %w", f.Path, err)
			}
		}
		return nil
	})
	k.written = k.checkPartition
	k.read(ctx, group, k.allTasks())
	return group.Wait()
}

func (k *check) checkFile(ctx context.Context, f ManifestFile) error {
	n, sum, err := contentOf(ctx, k.Target, f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		k.drift(f, Missing, "the manifest names it, and it does not exist: export again")
		return nil
	}
	if err != nil {
		return err
	}
	if n != f.Bytes || sum != f.SHA256 {
		k.drift(f, Damaged, "it has %d bytes with checksum %s, and %d with %s were written: export again with --replace", n, sum, f.Bytes, f.SHA256)
	}
	return nil
}

// allTasks read the whole database. Months that it no longer has are reported here.
func (k *check) allTasks() []task {
	current := map[string]bool{}
	var list []task
	for _, t := range k.tables {
		all := k.partitions(t)
		for _, p := range all {
			current[p.Table+p.Month] = true
		}
		list = append(list, t.tasks(all)...)
	}
	for _, f := range k.previous.Files {
		if !current[f.Table+f.Month] && !k.isRetired(f) {
			k.drift(f, Stale, "the export has %d rows with a sum of %s, and the database none: export again", f.Rows, f.Sum)
		}
	}
	return list
}

// checkPartition compares a partition, as it would be written now, with the manifest.
func (k *check) checkPartition(p partition) {
	f, ok := k.previous.find(func(f ManifestFile) bool { return f.Table == p.Table && f.Month == p.Month })
	both := fmt.Sprintf("the export has %d rows with a sum of %s, and the database %d with %s", f.Rows, f.Sum, p.Rows, p.Sum)
	switch {
	case !ok:
		k.drift(p.ManifestFile, Stale, "the export has none, and the database %d rows with a sum of %s: export again", p.Rows, p.Sum)
	case f.Path != p.Path:
		k.drift(f, Stale, "%s: export again", both)
	case f.SHA256 != p.SHA256:
		k.drift(f, Different, "%s, though no load has changed them: run tally verify, then export with --replace", both)
	}
}
