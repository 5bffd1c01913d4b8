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
func checkURL(location string) error {
	if err := bucket.Check(location); err != nil {
		return err
	}
	folder, name, err := bucket.Split(location)
	if err != nil {
		return err
	}
	if strings.ContainsAny(bucket.Name(folder), globs) {
		return errors.New("only the last part of a URL may be a glob")
	}
	_, err = path.Match(name, "")
	return err
}

// objects lists an object, a folder or a glob of an object store.
func objects(ctx context.Context, location string) ([]string, error) {
	var stores bucket.Stores
	found, err := stores.Exists(ctx, location)
	if found {
		return []string{location}, nil
	}
	denied := errors.Is(err, fs.ErrPermission) // also of what is not there, to those who may not list all of a bucket
	if err != nil && !denied {
		return nil, err
	}
	folder, name, splitErr := bucket.Split(location)
	if splitErr != nil {
		return nil, splitErr
	}
	var files []string
	var listErr error
	if strings.ContainsAny(name, globs) {
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
