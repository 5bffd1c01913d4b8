package parquet

import (
	"context"
	"fmt"
	"io"
	"path"
	"strings"
)

// maxWaiting bounds the files that are held back at once, each with an open object.
const maxWaiting = 16

// upload is a file on its way to the target, where it appears when it is closed.
type upload struct {
	io.WriteCloser
	path    string
	discard context.CancelFunc // before closing: the file is not to appear
	wait    bool
	export  *export
}

// create begins a file of the export. One that takes another one's place appears with
// others of its kind, right before the manifest, so that a reader of the folders without
// the manifest sees a month twice for a moment at most, unless very many have changed.
func (e *export) create(ctx context.Context, t table, p partition) (io.WriteCloser, error) {
	name := e.lineage.path(t, p)
	ctx, discard := context.WithCancel(ctx)
	w, err := e.Target.Create(ctx, name)
	if err != nil {
		discard()
		return nil, fmt.Errorf("write %s: %w", name, err)
	}
	return &upload{w, name, discard, e.replaces(name), e}, nil
}

// replaces reports whether another file of the same partition is there.
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
		held := len(e.waiting) < maxWaiting
		if held {
			e.waiting = append(e.waiting, u)
		}
		e.mu.Unlock()
		if held {
			return nil
		}
	}
	return u.finish()
}

func (u *upload) finish() error {
	defer u.discard()
	if err := u.WriteCloser.Close(); err != nil {
		return fmt.Errorf("write %s: %w", u.path, err)
	}
	return nil
}

// abandon lets go of files that were written for nothing.
func (e *export) abandon() {
	for _, u := range e.waiting {
		u.abandon()
	}
}

func (u *upload) abandon() {
	u.discard()
	_ = u.WriteCloser.Close() // it says that it was cancelled
}
