package load

import (
	"context"
	"encoding/hex"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/pipeline/extract"
	"github.com/opentax/tally/pipeline/transform"
)

// Known has the files of a source that are as they were when they were last read, so that
// their content is known without opening them. Nil knows none.
type Known struct {
	loader  *Loader
	request Request
	files   map[bucket.Location]knownFile
	proven  *proven
}

type knownFile struct {
	identity extract.Identity
	entry    *entry // of the ledger; nil if the content is not loaded by today's rules
	reverted bool   // the entry was: its content is not loaded any more
	same     bool   // see the statement same_file
}

// Known looks up all files of a source at once, and forgets those that the source has no more, unless a
// person has chosen the files (Again). Of the request it needs Source, Rules, Learns and Again.
func (l *Loader) Known(ctx context.Context, request Request, files []bucket.Entry) (*Known, error) {
	k := &Known{loader: l, request: request, files: map[bucket.Location]knownFile{}}
	var paths, tags []string
	var sizes, times []int64
	byPath := map[string]bucket.Location{}
	for _, f := range files {
		if f.Version.IsZero() {
			continue
		}
		paths, tags = append(paths, f.String()), append(tags, f.Version.Tag)
		sizes, times = append(sizes, f.Version.Size), append(times, f.Version.Modified)
		byPath[f.String()] = f.Location
	}
	if len(paths) == 0 {
		return k, nil
	}
	rules, err := request.rules()
	if err != nil {
		return nil, err
	}
	rows, _ := l.pool.Query(ctx, l.statements.Get("known_files"), request.Source, paths, sizes, times, tags, // ForEachRow returns its error
		transform.Version, rules, request.Rules.Corrections == transform.CorrectionsReplace)
	var path string
	var sha []byte
	var id *int64
	var f knownFile
	var e entry
	_, err = pgx.ForEachRow(rows, []any{&path, &sha, &f.identity.Bytes, &id, &f.reverted, &e.source, &e.path, &e.conventions, &e.outOfWindow, &e.orphans, &e.replaced, &f.same}, func() error {
		copy(f.identity.SHA256[:], sha)
		f.entry = nil
		if id != nil {
			found := e
			found.id, f.entry = *id, &found
		}
		k.files[byPath[path]] = f
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look up the known files of %s: %w", request.Source, err)
	}
	if !request.Again { // these are all files of the source
		if _, err := l.pool.Exec(ctx, l.statements.Get("forget"), request.Source, paths); err != nil {
			return nil, fmt.Errorf("forget former files of %s: %w", request.Source, err)
		}
	}
	return k, nil
}

// Identity is that of a file's content, if it is known.
func (k *Known) Identity(file bucket.Location) (id extract.Identity, known bool) {
	if k == nil {
		return id, false
	}
	f, known := k.files[file]
	return f.identity, known
}

// Unchanged is the result of a file whose content is loaded already, and would be read as
// it was then, or was reverted: the result that Load would have, without reading the file.
func (k *Known) Unchanged(ctx context.Context, file bucket.Location) (result Result, unchanged bool, err error) {
	if k == nil {
		return result, false, nil
	}
	f := k.files[file]
	if unchanged, err := k.unchanged(ctx, file, f); !unchanged || err != nil {
		return result, false, err
	}
	result = Result{
		Path: file.String(), Source: k.request.Source, Status: StatusUnchanged, FileID: f.entry.id, LoadedAs: f.entry.path,
		SHA256: hex.EncodeToString(f.identity.SHA256[:]), Bytes: f.identity.Bytes, TotalAmount: "0",
		Faults: map[string]int64{}, Hints: []string{}, Warnings: []string{},
	}
	if f.reverted {
		result.Warnings = append(result.Warnings, revertedWarning(f.entry.id, result.Path))
	}
	return result, true, nil
}

func (k *Known) unchanged(ctx context.Context, file bucket.Location, f knownFile) (bool, error) {
	if f.entry == nil || f.reverted {
		return f.reverted && !k.request.Again, nil
	}
	same, err := k.request.readsAlike(f.entry, func() (_ *proven, err error) {
		if k.proven == nil {
			k.proven, err = k.loader.lookUpProven(ctx, k.loader.pool, &k.request)
		}
		return k.proven, err
	})
	return same && k.stands(file, f), err
}

// stands is the method of a load of that name, where it needs no further statement.
func (k *Known) stands(file bucket.Location, f knownFile) bool {
	switch e := f.entry; {
	case k.request.Rules.Corrections != transform.CorrectionsReplace:
		return true
	case !e.replaced && e.path == file.String() && e.source == k.request.Source:
		return true
	default:
		return f.same && (!e.replaced || !k.request.Again)
	}
}

// Learned forgets what the source's files had proven, since a file of it was loaded.
func (k *Known) Learned() {
	if k != nil {
		k.proven = nil
	}
}

// Observe records the content of a file of the source, unless its version is zero.
func (k *Known) Observe(ctx context.Context, file bucket.Location, id extract.Identity, version bucket.Version) error {
	if k == nil {
		return nil
	}
	return k.loader.observe(ctx, k.loader.pool, k.request.Source, file.String(), id, version)
}

type executor interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

func (l *load) observe(ctx context.Context, db executor) error {
	return l.loader.observe(ctx, db, l.request.Source, l.path, l.identity, l.version)
}

func (l *Loader) observe(ctx context.Context, db executor, source, path string, id extract.Identity, version bucket.Version) error {
	if version.IsZero() || id == (extract.Identity{}) {
		return nil
	}
	_, err := db.Exec(ctx, l.statements.Get("observe"), source, path, version.Size, version.Modified, version.Tag, id.SHA256[:], id.Bytes)
	if err != nil {
		return fmt.Errorf("record the content of %s: %w", path, err)
	}
	return nil
}

// checkChosen compares the file with the version that was chosen.
func (l *load) checkChosen(ctx context.Context) error {
	if chosen := l.request.Chosen; !chosen.IsZero() && !extract.StillHas(ctx, l.loader.stores, l.request.Path, chosen) {
		return ErrChanged
	}
	return nil
}
