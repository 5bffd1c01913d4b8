package pipeline

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"strings"

	"github.com/opentax/tally/internal/bucket"
)

// globs are what makes a pattern of an object's name. A ? does not: in a URL the
// parameters begin there.
const globs = "*["

// checkURL checks the URL of a source.
func checkURL(location bucket.Location) error {
	folder, name := location.Split()
	if strings.ContainsAny(folder.String(), globs) {
		return errors.New("only the last part of a URL may be a glob")
	}
	_, err := path.Match(name, "")
	return err
}

// objects lists an object, a folder or a glob of an object store.
func objects(ctx context.Context, stores *bucket.Stores, location bucket.Location) ([]bucket.Location, error) {
	found, err := stores.Exists(ctx, location)
	if found {
		return []bucket.Location{location}, nil
	}
	denied := errors.Is(err, fs.ErrPermission) // also of what is not there, to those who may not list all of a bucket
	if err != nil && !denied {
		return nil, err
	}
	var files []bucket.Location
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
		files, listErr = stores.List(ctx, location, isDelimitedText)
	}
	if denied && errors.Is(listErr, fs.ErrNotExist) {
		return nil, err
	}
	return files, listErr
}
