package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opentax/tally/internal/bucket"
)

// datePlaceholder in a source's path stands for the run's logical date.
const datePlaceholder = "{date}"

// Source is where files come from, and how they are to be read.
type Source struct {
	// Name is how the ledger calls the source.
	Name string `yaml:"name"`
	// Path is a file, a folder or a glob, of this machine or of an object store
	// (s3://bucket/folder). {date} in it stands for the logical date of the run, as
	// YYYY-MM-DD.
	Path  bucket.Location `yaml:"path"`
	Rules Rules           `yaml:",inline"`
}

// Check names the setting that is wrong.
func (s Source) Check() error {
	if strings.TrimSpace(s.Name) == "" {
		return errors.New("source: name is missing")
	}
	if s.Path.IsZero() {
		return fmt.Errorf("source %s: path is missing", s.Name)
	}
	if err := checkPath(s.Path); err != nil {
		return fmt.Errorf("source %s: path %q: %w", s.Name, s.Path, err)
	}
	if err := s.Rules.Check(); err != nil {
		return fmt.Errorf("source %s: %w", s.Name, err)
	}
	return nil
}

func checkPath(location bucket.Location) error {
	path, local := location.Local()
	if !local {
		return checkURL(location)
	}
	_, err := filepath.Match(path, "")
	return err
}

// CheckSources checks each source, and that no two have one name.
func CheckSources(sources []Source) error {
	seen := map[string]bool{}
	for _, s := range sources {
		if err := s.Check(); err != nil {
			return err
		}
		if seen[s.Name] {
			return fmt.Errorf("source %q is there twice", s.Name)
		}
		seen[s.Name] = true
	}
	return nil
}

// Files lists the source's files as they are now, in order of their names: the
// order in which they are loaded, and so which of two conflicting rows wins. Of
// a folder they are its .csv, .tsv, .psv and .txt files, also as .gz or .zst, and
// not those below it or hidden. A file or folder that is not there is an error;
// a glob that matches nothing, or a path with {date} in it, is just empty.
//
// Objects of a store are listed alike: what their names have up to the last / is
// their folder.
func (s Source) Files(ctx context.Context, stores *bucket.Stores, date time.Time) ([]bucket.Location, error) {
	location := s.Path.Replace(datePlaceholder, date.Format(time.DateOnly))
	path, local := location.Local()
	if !local {
		files, err := objects(ctx, stores, location)
		if errors.Is(err, fs.ErrNotExist) && location != s.Path {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("source %s: %w", s.Name, err)
		}
		return files, nil
	}
	paths, err := s.localFiles(path, location != s.Path)
	files := make([]bucket.Location, len(paths))
	for i, path := range paths {
		files[i] = bucket.Path(path)
	}
	return files, err
}

// localFiles lists a path of this machine, which may be missing where it is dated.
func (s Source) localFiles(path string, dated bool) ([]string, error) {
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return folderFiles(path)
	case err == nil:
		return []string{path}, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("source %s: %w", s.Name, err)
	}
	matches, err := filepath.Glob(path)
	if err != nil {
		return nil, fmt.Errorf("source %s: path %q: %w", s.Name, path, err)
	}
	if len(matches) == 0 && !strings.ContainsAny(path, "*?[") && !dated {
		return nil, fmt.Errorf("source %s: %s: %w", s.Name, path, fs.ErrNotExist)
	}
	matches = slices.DeleteFunc(matches, isFolder)
	slices.Sort(matches)
	return matches, nil
}

func folderFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	var files []string
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if isDelimitedText(e.Name()) && !isFolder(path) {
			files = append(files, path)
		}
	}
	return files, nil // ReadDir sorts
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func isDelimitedText(name string) bool {
	name = strings.ToLower(name)
	if strings.HasPrefix(name, ".") {
		return false
	}
	name = strings.TrimSuffix(strings.TrimSuffix(name, ".gz"), ".zst")
	switch filepath.Ext(name) {
	case ".csv", ".tsv", ".psv", ".txt":
		return true
	}
	return false
}
