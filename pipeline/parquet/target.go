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

// inspectTarget reads the target's manifest and lists its files.
func (e *export) inspectTarget(ctx context.Context) (err error) {
	if e.content, err = readManifest(ctx, e.Target); err != nil {
		return err
	}
	target := e.Target.String()
	e.previous, err = decodeManifest(e.content, target)
	if bad, ok := errors.AsType[*ManifestError](err); ok && e.Replace {
		e.Logger.WarnContext(ctx, "the manifest is replaced", "target", target, "reason", bad.Reason)
		err = nil
	}
	if err != nil {
		return err
	}
	if e.previous != nil && e.previous.Database != e.state.database && !e.Replace {
		return &ManifestError{target, "it is of another database (" + e.previous.Database + ")", replaceHint}
	}
	if err := e.list(ctx); err != nil {
		return err
	}
	if e.previous != nil {
		e.generation = e.previous.Generation
	}
	for e.Replace && e.nameTaken() {
		e.generation++
	}
	return nil
}

// readManifest is the content of a target's manifest, nil if it has none.
func readManifest(ctx context.Context, target bucket.Target) ([]byte, error) {
	content, err := bucket.ReadFile(ctx, target, ManifestName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", ManifestName, err)
	}
	return content, nil
}

// nameTaken reports whether a file to write exists already.
func (e *export) nameTaken() bool {
	for _, t := range e.tables {
		for _, p := range e.partitions(t) {
			if _, taken := e.existing[p.Path]; taken {
				return true
			}
		}
	}
	return false
}

func (e *export) list(ctx context.Context) error {
	prefixes := []string{ManifestName}
	for _, t := range e.tables {
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

var errConcurrent = errors.New("another export was made here meanwhile")

// checkOwnership verifies that this export still has the target's lock, and that the manifest is
// the one that it read at the start: the end of a session, by a failover or an administrator,
// releases the lock.
func (e *export) checkOwnership(ctx context.Context) error {
	if err := e.snapshot.ping(ctx); err != nil {
		return err
	}
	now, err := readManifest(ctx, e.Target)
	if err == nil && !bytes.Equal(now, e.content) {
		err = errConcurrent
	}
	return err
}
