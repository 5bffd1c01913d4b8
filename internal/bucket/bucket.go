package bucket

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"os"
	"path/filepath"
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

// Target opens a place: a folder, which is made where it is missing, or a bucket of a
// store with a prefix. It says what to set where credentials or a region are missing.
//
// That a bucket can be reached shows when it is used.
func (s *Stores) Target(ctx context.Context, l Location) (*Place, error) {
	l = l.Clean()
	if dir, ok := l.Local(); ok {
		return openFolder(dir)
	}
	opened, err := l.open(ctx) // a bucket with a prefix takes the whole one's place
	if err != nil {
		return nil, fmt.Errorf("open %w", err)
	}
	if l.key != "" {
		opened = blob.PrefixedBucket(opened, l.key+"/")
	}
	return &Place{Bucket: opened, Name: l.String()}, nil
}

func openFolder(abs string) (*Place, error) {
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
