package parquet

import (
	"context"
	"fmt"
	"io"
	"path"
	"strings"
)

// maxDeferred bounds the files that are held back at once, each with an open object.
const maxDeferred = 16

// upload is a file on its way to the target, where it appears when it is closed.
type upload struct {
	io.WriteCloser
	path   string
	cancel context.CancelFunc // before closing: the file is not to appear
	wait   bool
	export *export
}

// create begins a file of the export. One that takes another one's place appears with
// others of its kind, right before the manifest, so that a reader of the folders without
// the manifest sees a month twice for a moment at most, unless very many have changed.
func (e *export) create(ctx context.Context, t table, p partition) (io.WriteCloser, error) {
	name := e.id.path(t, p)
	ctx, cancel := context.WithCancel(ctx)
	w, err := e.Target.Create(ctx, name)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("write %s: %w", name, err)
	}
	return &upload{w, name, cancel, e.replaces(name), e}, nil
}

// replaces reports whether another file of the same partition is there.
func (e *export) replaces(name string) bool {
	folder := path.Dir(name) + "/"
	for other := range e.existing {
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
		held := len(e.deferred) < maxDeferred
		if held {
			e.deferred = append(e.deferred, u)
		}
		e.mu.Unlock()
		if held {
			return nil
		}
	}
	return u.finish()
}

func (u *upload) finish() error {
	defer u.cancel()
	if err := u.WriteCloser.Close(); err != nil {
		return fmt.Errorf("write %s: %w", u.path, err)
	}
	return nil
}

// discard lets go of files that were written for nothing.
func (e *export) discard() {
	for _, u := range e.deferred {
		u.discard()
	}
}

func (u *upload) discard() {
	u.cancel()
	_ = u.WriteCloser.Close() // it says that it was cancelled
}
