package parquet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"

	"github.com/opentax/tally/internal/bucket"
)

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
