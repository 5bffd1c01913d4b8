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

// inspectTarget reads the last manifest, and lists what is at the target.
func (e *export) inspectTarget(ctx context.Context) error {
	var err error
	e.raw, err = e.readManifest(ctx)
	if err != nil {
		return err
	}
	e.previous, err = decodeManifest(e.raw, e.Target.String())
	if bad, ok := errors.AsType[*ManifestError](err); ok && e.Replace {
		e.Logger.WarnContext(ctx, "the manifest is replaced", "target", e.Target.String(), "reason", bad.Reason)
		err = nil
	}
	if err != nil {
		return err
	}
	if e.previous != nil && e.previous.Database != e.state.database && !e.Replace {
		return &ManifestError{e.Target.String(), "it is of another database (" + e.previous.Database + ")", replaceHint}
	}
	if err := e.list(ctx); err != nil {
		return err
	}
	e.id = exportID{database: e.state.database}
	if e.previous != nil {
		e.id.generation = e.previous.Generation
	}
	for e.Replace && e.nameTaken() {
		e.id.generation++
	}
	return nil
}

// nameTaken reports whether a file that is to be written exists already.
func (e *export) nameTaken() bool {
	for _, t := range tables() {
		for _, p := range e.state.partitions(t) {
			if _, there := e.existing[e.id.path(t, p)]; there {
				return true
			}
		}
	}
	return false
}

// list notes what is at the target.
func (e *export) list(ctx context.Context) error {
	e.existing = map[string]int64{}
	prefixes := []string{ManifestName}
	for _, t := range tables() {
		prefixes = append(prefixes, t.name+"/")
	}
	for _, prefix := range prefixes {
		files, err := e.Target.List(ctx, prefix)
		if err != nil {
			return fmt.Errorf("list %s: %w", prefix, err)
		}
		maps.Copy(e.existing, files)
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
	if err := e.checkOwnership(ctx); err != nil {
		return err
	}
	if err := bucket.WriteFile(ctx, e.Target, ManifestName, content); err != nil {
		return fmt.Errorf("write %s: %w", ManifestName, err)
	}
	return nil
}

// errConcurrent is for who has lost the target to another export; the next try sees what
// that one has left.
var errConcurrent = errors.New("another export was made here meanwhile")

// checkOwnership makes sure that the target is still this export's, and its manifest the one
// that it began with: a session that was ended, by a failover or an administrator, has
// lost its lock.
func (e *export) checkOwnership(ctx context.Context) error {
	if err := e.snapshot.ping(ctx); err != nil {
		return err
	}
	now, err := e.readManifest(ctx)
	if err != nil {
		return err
	}
	if !bytes.Equal(now, e.raw) {
		return errConcurrent
	}
	return nil
}

// cleanUp removes what was there before and is in the manifest no more. What cannot be
// removed is left to the next export: this one stands.
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
			e.Logger.WarnContext(ctx, "the export does not need this file any more, and cannot remove it", "target", e.Target.String(), "path", path, "error", bucket.Redact(err))
		}
		if ctx.Err() != nil {
			return
		}
	}
}
