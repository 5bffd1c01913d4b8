package extract

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opentax/tally/internal/bucket"
)

// globs are what makes a pattern of an object's name. A ? does not: in a URL the
// parameters begin there.
const globs = "*["

// CheckPattern checks what is to be listed.
func CheckPattern(location bucket.Location) error {
	file, local := location.Local()
	if local {
		_, err := filepath.Match(file, "")
		return err
	}
	folder, name := location.Split()
	if strings.ContainsAny(folder.String(), globs) {
		return errors.New("only the last part of a URL may be a glob")
	}
	_, err := path.Match(name, "")
	return err
}

// List lists files as they are now, in order of their names: one file, the matches of a
// glob, or a folder's .csv, .tsv, .psv and .txt files, also as .gz, .zst or .zip,
// and not those below it or hidden. A file or folder that is not there is [fs.ErrNotExist]; a
// glob that matches nothing is empty. No file is opened: a look at each finds its version.
//
// Objects of a store are listed alike: what their names have up to the last / is
// their folder.
func List(ctx context.Context, stores *bucket.Stores, location bucket.Location) ([]bucket.Entry, error) {
	path, local := location.Local()
	if !local {
		return objects(ctx, stores, location)
	}
	return localFiles(path)
}

func localFiles(path string) ([]bucket.Entry, error) {
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return folderFiles(path)
	case err == nil:
		return []bucket.Entry{{Location: bucket.Path(path), Version: bucket.VersionOf(info)}}, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	matches, err := filepath.Glob(path)
	if err != nil {
		return nil, fmt.Errorf("path %q: %w", path, err)
	}
	if len(matches) == 0 && !strings.ContainsAny(path, "*?[") {
		return nil, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
	}
	slices.Sort(matches)
	return withoutFolders(matches), nil
}

func folderFiles(dir string) ([]bucket.Entry, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	var paths []string
	for _, e := range entries {
		if IsDelimitedText(e.Name()) {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return withoutFolders(paths), nil // ReadDir sorts
}

// withoutFolders leaves folders out. A file that cannot be looked at has no version: reading
// it reports the error.
func withoutFolders(paths []string) []bucket.Entry {
	files := make([]bucket.Entry, 0, len(paths))
	for _, path := range paths {
		entry := bucket.Entry{Location: bucket.Path(path)}
		if info, err := os.Stat(path); err == nil {
			if info.IsDir() {
				continue
			}
			entry.Version = bucket.VersionOf(info)
		}
		files = append(files, entry)
	}
	return files
}

// IsDelimitedText knows the names of the files that a folder's are: it says nothing of
// their content.
func IsDelimitedText(name string) bool {
	name = strings.ToLower(name)
	if strings.HasPrefix(name, ".") {
		return false
	}
	switch ext := filepath.Ext(name); ext {
	case ".gz", ".zst", ".zip":
		name = strings.TrimSuffix(name, ext)
	}
	switch filepath.Ext(name) {
	case ".csv", ".tsv", ".psv", ".txt":
		return true
	}
	return false
}

// objects lists an object, a folder or a glob of an object store.
func objects(ctx context.Context, stores *bucket.Stores, location bucket.Location) ([]bucket.Entry, error) {
	version, err := stores.Stat(ctx, location)
	if err == nil {
		return []bucket.Entry{{Location: location, Version: version}}, nil
	}
	denied := errors.Is(err, fs.ErrPermission) // also of what is not there, to those who may not list all of a bucket
	if !denied && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var files []bucket.Entry
	var listErr error
	if folder, name := location.Split(); strings.ContainsAny(name, globs) {
		files, listErr = stores.List(ctx, folder, func(n string) bool {
			matches, _ := path.Match(name, n) // the pattern was checked
			return matches
		})
		if errors.Is(listErr, fs.ErrNotExist) {
			return nil, nil
		}
	} else {
		files, listErr = stores.List(ctx, location, IsDelimitedText)
	}
	if denied && errors.Is(listErr, fs.ErrNotExist) {
		return nil, err
	}
	return files, listErr
}
