package extract

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/opentax/tally/internal/bucket"
)

// racy is how long after a file was written another write may leave it with the same time:
// the granularity of a file system's times, at most that of FAT.
const racy = 2 * time.Second

// versionRead is the version of what was read, from a file that was opened since begun. A file that was
// written while, or just before, it was read has none: more may follow within the same tick
// of the file system's clock. Git calls such a file racily clean.
func versionRead(raw io.Reader, opened bucket.Version, begun time.Time) bucket.Version {
	if file, local := raw.(*os.File); local {
		if info, err := file.Stat(); err == nil && bucket.VersionOf(info) == opened && info.ModTime().Before(begun.Add(-racy)) {
			return opened
		}
		return bucket.Version{}
	}
	return opened
}

// EndsLine reports whether a local file ends with the end of a line, as far as that can be
// seen: compressed content is checked when it is decompressed. A file that is empty does not.
func EndsLine(path string) (bool, error) {
	info, err := os.Stat(path) // before opening: opening a pipe would wait for a writer
	if err != nil {
		return false, err
	}
	if !info.Mode().IsRegular() {
		return true, nil // reading it reports the error
	}
	file, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer file.Close() //nolint:errcheck // it was only read
	var magic [4]byte
	n, err := file.ReadAt(magic[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	if compressionOf(magic[:n]) != "" {
		return true, nil
	}
	var last [2]byte
	n, err = file.ReadAt(last[:min(info.Size(), 2)], max(0, info.Size()-2))
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	return endsLine(last[:n]), nil
}

// endsLine knows the end of a line, or of a file, by its last two bytes; in UTF-16 a zero
// belongs to each.
func endsLine(last []byte) bool {
	const ends = "\n\r\x1a"
	last = bytes.TrimSuffix(last, []byte{0})
	return len(last) > 0 && bytes.ContainsRune([]byte(ends), rune(last[len(last)-1]))
}

// StillHas reports whether a local file is of a version. One that is not there, or cannot
// be looked at, is: reading it reports the error.
func StillHas(ctx context.Context, stores *bucket.Stores, location bucket.Location, version bucket.Version) bool {
	now, err := stores.Stat(ctx, location)
	return err != nil || now == version
}
