package bucket

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
)

const quotes = `"` // around a tag in a header, but not in every listing

// Version distinguishes one content of a file or object from the next without opening it.
// Versions are comparable. The zero value is no version.
type Version struct {
	Size     int64  // in bytes, as stored
	Modified int64  // Unix time in ns; of objects 0, since a store rounds it as it likes
	Tag      string // of objects: the store's own, its ETag or generation
}

// IsZero reports whether v is no version, such as that of a store that gives no tags.
func (v Version) IsZero() bool { return v.Modified == 0 && v.Tag == "" }

// Entry is a file or object as a listing found it.
type Entry struct {
	Location
	Version Version
}

// VersionOf is the version of a file of this machine.
func VersionOf(info fs.FileInfo) Version {
	return Version{Size: info.Size(), Modified: info.ModTime().UnixNano()}
}

// Stat finds the version of a file or object. One that is not there is [fs.ErrNotExist];
// of a store, a folder is not there.
func (s *Stores) Stat(ctx context.Context, l Location) (Version, error) {
	if path, local := l.Local(); local {
		info, err := os.Stat(path)
		if err != nil {
			return Version{}, err
		}
		return VersionOf(info), nil
	}
	if l.folder() == l {
		return Version{}, &storeError{l, fs.ErrNotExist, errors.New("it is a folder")}
	}
	var found object
	err := s.ask(ctx, l, func(r *request) (err error) {
		found, err = r.store.head(r.ctx, l.key)
		return err
	})
	return found.version(), err
}

// object is an object as its store shows it.
type object struct {
	key, tag string
	size     int64
}

func (o object) version() Version { return Version{Size: o.size, Tag: strings.Trim(o.tag, quotes)} }
