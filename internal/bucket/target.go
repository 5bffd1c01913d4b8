package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	readTries   = 5
	changePause = 50 * time.Millisecond // some stores replace an object and its checksum one after the other
)

// Target is a folder, or a prefix of a bucket, that files are written to. Names are
// relative to it, with slashes. What has been written outlasts a power cut.
type Target interface {
	// String is how the target is called in messages and in the ledger.
	String() string
	// List gives the files below a prefix, with their lengths in bytes.
	List(ctx context.Context, prefix string) (map[string]int64, error)
	// Open reads a file. One that is not there is fs.ErrNotExist.
	Open(ctx context.Context, name string) (io.ReadCloser, error)
	// Create begins a file. It appears when it is closed, in another one's place if there
	// is one, unless ctx is done: then Close removes what there is of it.
	Create(ctx context.Context, name string) (io.WriteCloser, error)
	// Remove removes a file. One that is not there is fs.ErrNotExist, or no error.
	Remove(ctx context.Context, name string) error
}

// Target opens a folder, which is made where it is missing, or a prefix of a bucket. The
// error says what to set where credentials or a region are missing. That a bucket can be
// reached shows when it is used.
func (s *Stores) Target(ctx context.Context, l Location) (Target, error) {
	l = l.Clean()
	if dir, ok := l.Local(); ok {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("open %s: %w", dir, err)
		}
		return folder(dir), nil
	}
	if _, err := s.store(ctx, l); err != nil {
		return nil, fmt.Errorf("open %w", err)
	}
	return prefix{s, l}, nil
}

// ReadFile reads all of a file, again if it is replaced meanwhile.
func ReadFile(ctx context.Context, t Target, name string) (content []byte, err error) {
	for range readTries {
		if content, err = readOnce(ctx, t, name); !errors.Is(err, ErrChanged) {
			break
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(changePause):
		}
	}
	return content, err
}

func readOnce(ctx context.Context, t Target, name string) ([]byte, error) {
	r, err := t.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(r)
	return content, errors.Join(err, r.Close())
}

// WriteFile writes a file: readers see all of it or what was there before.
func WriteFile(ctx context.Context, t Target, name string, content []byte) error {
	ctx, discard := context.WithCancel(ctx)
	defer discard()
	w, err := t.Create(ctx, name)
	if err != nil {
		return err
	}
	if _, err = w.Write(content); err != nil {
		discard()
	}
	return errors.Join(err, w.Close())
}

// prefix is a target in a bucket.
type prefix struct {
	stores *Stores
	Location
}

func (p prefix) List(ctx context.Context, below string) (map[string]int64, error) {
	objects := map[string]int64{}
	err := p.stores.list(ctx, p.Join(below), false, func(o object) {
		objects[strings.TrimPrefix(o.key, p.folder().key)] = o.size
	})
	return objects, err
}

func (p prefix) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	return p.stores.Read(ctx, p.Join(name))
}

func (p prefix) Create(ctx context.Context, name string) (io.WriteCloser, error) {
	kind := mime.TypeByExtension(filepath.Ext(name))
	if filepath.Ext(name) == ".parquet" {
		kind = "application/vnd.apache.parquet"
	}
	r, err := p.stores.request(ctx, p.Join(name), partSilence)
	if err != nil {
		return nil, err
	}
	u := &upload{request: r}
	err = r.do(func() (err error) {
		u.to, err = r.store.create(r.ctx, r.location.key, kind)
		return err
	})
	if err != nil {
		r.cancel(nil)
		return nil, err
	}
	return u, nil
}

func (p prefix) Remove(ctx context.Context, name string) error {
	l := p.Join(name)
	return p.stores.ask(ctx, l, func(r *request) error { return r.store.remove(r.ctx, l.key) })
}

// upload is an object that is written, and given up when the store is silent.
type upload struct {
	*request
	to io.WriteCloser
}

func (u *upload) Write(b []byte) (n int, err error) {
	err = u.do(func() (err error) {
		n, err = u.to.Write(b)
		return err
	})
	return n, err
}

func (u *upload) Close() error {
	defer u.cancel(nil)
	return u.do(u.to.Close)
}

// folder is a target on this machine: its absolute path.
type folder string

func (f folder) String() string { return string(f) }

func (f folder) path(name string) string { return filepath.Join(string(f), filepath.FromSlash(name)) }

func (f folder) List(_ context.Context, prefix string) (map[string]int64, error) {
	files := map[string]int64{}
	err := fs.WalkDir(os.DirFS(string(f)), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // removed meanwhile
		case err != nil:
			return err
		case d.IsDir(), !strings.HasPrefix(name, prefix):
			return nil
		}
		if info, err := d.Info(); err == nil { // else it was removed meanwhile
			files[name] = info.Size()
		}
		return nil
	})
	return files, err
}

func (f folder) Open(_ context.Context, name string) (io.ReadCloser, error) {
	return os.Open(f.path(name))
}

func (f folder) Remove(_ context.Context, name string) error { return os.Remove(f.path(name)) }

// Create begins a file, with a temporary one next to it, so that it can be renamed,
// whatever is mounted where.
func (f folder) Create(ctx context.Context, name string) (io.WriteCloser, error) {
	path := f.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(fmt.Sprintf("%s.%x.tmp", path, time.Now().UnixNano()), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, err
	}
	return &newFile{file, ctx, f, path}, nil
}

// newFile is a file that has another name until it is whole.
type newFile struct {
	*os.File
	ctx    context.Context
	folder folder
	path   string
}

// Close gives the file its name once its content outlasts a power cut, and then makes the
// names outlast it, up to the target's own folder.
func (n *newFile) Close() error {
	err := errors.Join(context.Cause(n.ctx), n.Sync(), n.File.Close())
	if err == nil {
		err = os.Rename(n.Name(), n.path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(n.Name()))
	}
	for dir := filepath.Dir(n.path); len(dir) >= len(n.folder); dir = filepath.Dir(dir) {
		if err := syncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
