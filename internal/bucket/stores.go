package bucket

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	silence     = 60 * time.Second // the longest wait for the next byte of an answer
	partSilence = 90 * time.Second // and for a part of a file to be taken
)

// errSilent ends an answer that stands still.
var errSilent = errors.New("nothing more has come")

// store is one bucket. Its client retries requests by itself.
type store interface {
	// get opens an object from a byte on, of the version with that tag; "" is any.
	get(ctx context.Context, key, tag string, from int64) (answer, error)
	// head is what get would open, without opening it.
	head(ctx context.Context, key string) (object, error)
	// list calls found with each object below a prefix. Shallow, folders come for what is
	// below them, with a / at their end.
	list(ctx context.Context, prefix string, shallow bool, found func(object)) error
	create(ctx context.Context, key, contentType string) (io.WriteCloser, error)
	remove(ctx context.Context, key string) error
	// status is the HTTP status that an error tells of, or 0.
	status(err error) int
	close() error
}

type answer struct {
	io.ReadCloser
	version version
	size    int64 // of the whole object
}

// version distinguishes one content of an object from the next one.
type version struct {
	tag      string // the store's own
	modified int64  // Unix time in ns
}

// Stores are the stores in use. Each is opened once, so that not every object looks for
// credentials. The zero value is ready; it is safe for concurrent use.
type Stores struct {
	mu      sync.Mutex // not held while a store is opened, which may wait for credentials
	open    map[Location]store
	opening singleflight.Group
	silence time.Duration // the default, except in a test
}

// Close closes the connections. The stores must not be in use.
func (s *Stores) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, opened := range s.open {
		errs = append(errs, opened.close())
	}
	s.open = nil
	return errors.Join(errs...)
}

func (s *Stores) store(ctx context.Context, l Location) (store, error) {
	l.key = ""
	if opened := s.opened(l); opened != nil {
		return opened, nil
	}
	opening := s.opening.DoChan(l.scheme+"://"+l.bucket+"?"+l.query, func() (any, error) {
		return s.openOnce(context.WithoutCancel(ctx), l) // others may wait for it, too
	})
	select {
	case done := <-opening:
		opened, _ := done.Val.(store) // nil beside an error
		return opened, done.Err
	case <-ctx.Done():
		return nil, fmt.Errorf("%s: %w", l, context.Cause(ctx))
	}
}

func (s *Stores) opened(l Location) store {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[l]
}

func (s *Stores) openOnce(ctx context.Context, l Location) (store, error) {
	if opened := s.opened(l); opened != nil {
		return opened, nil
	}
	open := openCloud
	if l.scheme == schemeS3 {
		open = openS3
	}
	opened, err := open(ctx, l)
	switch {
	case err == nil:
	case errors.Is(err, ErrUnavailable):
		return nil, fmt.Errorf("%s: %w", l, err)
	default:
		return nil, &storeError{l, ErrSetup, err}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[Location]store{}
	}
	s.open[l] = opened
	return opened, nil
}

// List gives the objects in a folder, and not in those below it, whose names are
// wanted, in order of their names. A folder of which nothing at all is there is
// fs.ErrNotExist.
func (s *Stores) List(ctx context.Context, folder Location, want func(name string) bool) ([]Entry, error) {
	folder = folder.folder()
	var objects []Entry
	empty := true
	err := s.list(ctx, folder, true, func(o object) {
		empty = false
		// Some tools make an object of a folder's own name.
		if name := strings.TrimPrefix(o.key, folder.key); name != "" && !strings.HasSuffix(name, "/") && want(name) {
			objects = append(objects, Entry{folder.Join(name), o.version()})
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list %w", err)
	}
	if empty && folder.key != "" {
		return nil, fmt.Errorf("%s: %w", folder, fs.ErrNotExist)
	}
	slices.SortFunc(objects, func(a, b Entry) int { return strings.Compare(a.key, b.key) })
	return objects, nil
}

func (s *Stores) list(ctx context.Context, l Location, shallow bool, found func(object)) error {
	return s.ask(ctx, l, func(r *request) error {
		return r.store.list(r.ctx, l.key, shallow, func(o object) {
			r.alive()
			found(o)
		})
	})
}

// ask makes one request of a store.
func (s *Stores) ask(ctx context.Context, l Location, do func(*request) error) error {
	r, err := s.request(ctx, l, silence)
	if err != nil {
		return err
	}
	defer r.cancel(nil)
	return r.do(func() error { return do(r) })
}

// request is something asked of a store, which is given up when the store is silent.
type request struct {
	ctx      context.Context
	caller   context.Context
	store    store
	location Location
	cancel   context.CancelCauseFunc
	timer    *time.Timer
	silence  time.Duration
}

func (s *Stores) request(ctx context.Context, l Location, limit time.Duration) (*request, error) {
	opened, err := s.store(ctx, l)
	if err != nil {
		return nil, err
	}
	r := &request{caller: ctx, store: opened, location: l, silence: cmp.Or(s.silence, limit)}
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	r.timer = time.AfterFunc(r.silence, func() { r.cancel(errSilent) })
	r.timer.Stop()
	return r, nil
}

// alive restarts the wait for an answer.
func (r *request) alive() { r.timer.Reset(r.silence) }

// wait does something that waits for the store.
func (r *request) wait(do func() error) error {
	r.alive()
	err := do()
	r.timer.Stop()
	if err != nil && errors.Is(context.Cause(r.ctx), errSilent) {
		err = fmt.Errorf("%w for %s: %w", errSilent, r.silence, err)
	}
	return err
}

// do is wait, and explains the error.
func (r *request) do(do func() error) error { return r.explain(r.wait(do)) }
