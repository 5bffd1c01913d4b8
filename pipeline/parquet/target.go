package parquet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"

	"github.com/opentax/tally/internal/bucket"
)

// lookAround reads the last manifest, and lists what is at the target.
func (e *export) lookAround(ctx context.Context) error {
	var err error
	e.raw, err = e.readManifest(ctx)
	if err != nil {
		return err
	}
	e.before, err = decodeManifest(e.raw, e.Target.String())
	if bad, ok := errors.AsType[*ManifestError](err); ok && e.Replace {
		e.Logger.WarnContext(ctx, "the manifest is replaced", "target", e.Target.String(), "reason", bad.Reason)
		err = nil
	}
	if err != nil {
		return err
	}
	if e.before != nil && e.before.Database != e.state.database && !e.Replace {
		return &ManifestError{e.Target.String(), "it is of another database (" + e.before.Database + ")", replaceHint}
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
		files, err := e.Target.List(ctx, prefix)
		if err != nil {
			return fmt.Errorf("list %s: %w", prefix, err)
		}
		maps.Copy(e.there, files)
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
	if err := bucket.WriteFile(ctx, e.Target, ManifestName, content); err != nil {
		return fmt.Errorf("write %s: %w", ManifestName, err)
	}
	return nil
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

// cleanUp removes what was there before and is in the manifest no more. What cannot be
// removed is left to the next export: this one stands.
func (e *export) cleanUp(ctx context.Context, m *Manifest) {
	for path := range e.there {
		if _, named := m.file(path); named || path == ManifestName || !ours.MatchString(path) {
			continue
		}
		err := e.Target.Remove(ctx, path)
		switch {
		case err == nil:
			e.result.Removed++
		case !errors.Is(err, fs.ErrNotExist):
			e.result.Left++
			e.Logger.WarnContext(ctx, "the export does not need this file any more, and cannot remove it", "target", e.Target.String(), "path", path, "error", bucket.Redact(err))
		}
		if ctx.Err() != nil {
			return
		}
	}
}
