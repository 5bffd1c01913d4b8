package bucket

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
)

// Place is a folder, or a prefix of a bucket. Every key is relative to it.
type Place struct {
	*blob.Bucket
	// Name is how the place is called in messages and in the ledger: a whole path, or
	// the URL without its parameters.
	Name string

	folder string // of this machine; "" for a bucket
}

// Open opens a place: a folder, which is made where it is missing, or a bucket of a
// store with a prefix. It says what to set where credentials or a region are missing.
//
// That a bucket can be reached shows when it is used.
func Open(ctx context.Context, location string) (*Place, error) {
	if dir, ok := Local(location); ok {
		return openFolder(dir)
	}
	l, err := named(location)
	if err != nil {
		return nil, err
	}
	opened, err := l.open(ctx)
	if err != nil {
		return nil, fmt.Errorf("open %w", err)
	}
	l.key = strings.Trim(l.key, "/")
	if l.key != "" {
		opened = blob.PrefixedBucket(opened, l.key+"/")
	}
	return &Place{Bucket: opened, Name: PlaceName(location)}, nil
}

// PlaceName is the name of the place that [Open] opens, without opening it.
func PlaceName(location string) string {
	if dir, ok := Local(location); ok {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return dir
		}
		return abs
	}
	l, err := parse(location)
	if err != nil {
		return Name(location)
	}
	l.key = strings.Trim(l.key, "/")
	return strings.TrimSuffix(l.name(), "/")
}

func openFolder(dir string) (*Place, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	// The temporary files of what is being written lie next to it, so that they can be
	// renamed, whatever is mounted where.
	options := &fileblob.Options{CreateDir: true, NoTempDir: true, Metadata: fileblob.MetadataDontWrite, DirFileMode: 0o755}
	opened, err := fileblob.OpenBucket(abs, options)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", abs, err)
	}
	return &Place{Bucket: opened, Name: abs, folder: abs}, nil
}

// Sync makes a file that was written outlast a power cut, and the names in its folder.
// With "" it is the place's own folder. An object store does so by itself.
func (p *Place) Sync(key string) error {
	if p.folder == "" {
		return nil
	}
	path := filepath.Join(p.folder, filepath.FromSlash(key))
	if err := syncPath(path); err != nil || key == "" {
		return err
	}
	for dir := filepath.Dir(path); len(dir) >= len(p.folder); dir = filepath.Dir(dir) {
		if err := syncPath(dir); err != nil {
			return err
		}
	}
	return nil
}

// WriteFile writes a file in one piece: whoever reads it sees all of it or what was there
// before, after a power cut as well.
func (p *Place) WriteFile(ctx context.Context, key string, content []byte) error {
	if p.folder == "" {
		return p.WriteAll(ctx, key, content, &blob.WriterOptions{ContentType: mime.TypeByExtension(filepath.Ext(key))})
	}
	path := filepath.Join(p.folder, filepath.FromSlash(key))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	temporary := fmt.Sprintf("%s.%x.tmp", path, time.Now().UnixNano()) // named as those of the library
	err := writeSynced(temporary, content)
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return p.Sync(key)
}

func writeSynced(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
