package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

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
