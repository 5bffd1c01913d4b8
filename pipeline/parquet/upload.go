package parquet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"gocloud.dev/blob"
)

const (
	// mostWaiting bounds the files that are held back at once, each with an open object.
	mostWaiting = 16
	// partSize is what an upload sends at a time, and holds in memory twice.
	partSize = 8 << 20
)

// upload is a file on its way to the target, where it appears when it is closed.
type upload struct {
	*blob.Writer
	path    string
	ctx     context.Context
	discard context.CancelCauseFunc // before closing: the file is not to appear
	timer   *time.Timer             // discards it when the store is silent
	wait    bool
	export  *export
}

// create begins a file of the export. One that takes another one's place appears with
// others of its kind, right before the manifest, so that whoever reads the folders
// without the manifest sees a month twice for a moment at most, unless very many have
// changed.
func (e *export) create(ctx context.Context, t table, p partition) (io.WriteCloser, error) {
	name := e.lineage.path(t, p)
	ctx, discard := context.WithCancelCause(ctx)
	timer := time.AfterFunc(silence, func() { discard(errSilent) })
	options := &blob.WriterOptions{ContentType: "application/vnd.apache.parquet", BufferSize: partSize, MaxConcurrency: 1}
	w, err := e.Bucket.NewWriter(ctx, name, options)
	timer.Stop()
	if err != nil {
		discard(nil)
		return nil, fmt.Errorf("write %s: %w", name, err)
	}
	return &upload{Writer: w, path: name, ctx: ctx, discard: discard, timer: timer, wait: e.replaces(name), export: e}, nil
}

// Write writes on, unless the store has stood still for too long.
func (u *upload) Write(b []byte) (n int, err error) {
	err = u.heard(func() error {
		n, err = u.Writer.Write(b)
		return err
	})
	return n, err
}

// heard does something that the store has to take part in.
func (u *upload) heard(do func() error) error {
	u.timer.Reset(silence)
	err := do()
	u.timer.Stop()
	if err != nil && errors.Is(context.Cause(u.ctx), errSilent) {
		err = fmt.Errorf("%w: %w", errSilent, err)
	}
	return err
}

// replaces tells whether another file of the same partition is there.
func (e *export) replaces(name string) bool {
	folder := path.Dir(name) + "/"
	for other := range e.there {
		if other != name && strings.HasPrefix(other, folder) && strings.HasSuffix(other, ".parquet") {
			return true
		}
	}
	return false
}

// Close makes the file appear, now or together with the others.
func (u *upload) Close() error {
	e := u.export
	if u.wait {
		e.mu.Lock()
		held := len(e.waiting) < mostWaiting
		if held {
			e.waiting = append(e.waiting, u)
		}
		e.mu.Unlock()
		if held {
			return nil
		}
	}
	return e.finish(u)
}

func (e *export) finish(u *upload) error {
	defer u.discard(nil)
	if err := u.heard(u.Writer.Close); err != nil {
		return fmt.Errorf("write %s: %w", u.path, err)
	}
	return e.sync(u.path)
}

// abandon lets go of files that were written for nothing.
func (e *export) abandon() {
	for _, u := range e.waiting {
		u.abandon()
	}
}

func (u *upload) abandon() {
	u.discard(nil)
	_ = u.Writer.Close() // it says that it was cancelled
}
