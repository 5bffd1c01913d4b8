package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/pipeline/extract"
	"github.com/opentax/tally/pipeline/transform"
)

// datePlaceholder in a source's path stands for the run's logical date.
const datePlaceholder = "{date}"

const timeOfDay = "15:04"

const maxSourceName = 200 // bytes: it is in an index

const (
	defaultSettle = 10 * time.Second
	maxSettle     = 24 * time.Hour
)

// Source is where files come from, and how they are to be read.
type Source struct {
	// Name is how the ledger calls the source.
	Name string `yaml:"name"`
	// Path is a file, a folder or a glob, of this machine or of an object store
	// (s3://bucket/folder). {date} in it stands for the logical date of the run, as
	// YYYY-MM-DD.
	Path bucket.Location `yaml:"path"`
	// ExpectedBy is the time of day, such as 06:30 in the schedule's time zone, by which a file
	// of a logical date is to be loaded on the day after; "" means at no time.
	ExpectedBy string `yaml:"expected_by"`
	// Settle is how long the size and the time of a local file must have stood still before
	// it is read, so that its writer has finished; nil means 10 s, and 0 turns it off.
	Settle *time.Duration  `yaml:"settle,omitempty"`
	Rules  transform.Rules `yaml:",inline"`

	files []bucket.Entry // instead of those at Path
}

// Check names the setting that is wrong.
func (s Source) Check() error {
	if strings.TrimSpace(s.Name) == "" {
		return errors.New("source: name is missing")
	}
	if len(s.Name) > maxSourceName {
		return fmt.Errorf("source %.20s…: name has more than %d bytes", s.Name, maxSourceName)
	}
	if s.Path.IsZero() {
		return fmt.Errorf("source %s: path is missing", s.Name)
	}
	if err := extract.CheckPattern(s.Path); err != nil {
		return fmt.Errorf("source %s: path %q: %w", s.Name, s.Path, err)
	}
	if _, err := time.Parse(timeOfDay, s.ExpectedBy); err != nil && s.ExpectedBy != "" {
		return fmt.Errorf("source %s: expected_by is %q, want a time of day such as 06:30", s.Name, s.ExpectedBy)
	}
	if settle := s.SettleTime(); settle < 0 || settle > maxSettle {
		return fmt.Errorf("source %s: settle is %s, want 0s to %s", s.Name, settle, maxSettle)
	}
	if err := s.Rules.Check(); err != nil {
		return fmt.Errorf("source %s: %w", s.Name, err)
	}
	return nil
}

// Due is the last logical date of which a file should be loaded at now, which is in the
// schedule's time zone. Without ExpectedBy the second result is false.
func (s Source) Due(now time.Time) (date civil.Date, ok bool) {
	yesterday := civil.Of(now) - 1
	by, ok := s.DueAt(yesterday, now.Location())
	if ok && now.Before(by) {
		return yesterday - 1, true
	}
	return yesterday, ok
}

// DueAt is when a file of a logical date is to be loaded, in the schedule's time zone. Without
// ExpectedBy the second result is false.
func (s Source) DueAt(date civil.Date, zone *time.Location) (at time.Time, ok bool) {
	by, err := time.Parse(timeOfDay, s.ExpectedBy)
	y, m, d := (date + 1).Time().Date()
	return time.Date(y, m, d, by.Hour(), by.Minute(), 0, 0, zone), err == nil
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

// SettleTime is the setting Settle, or its default.
func (s Source) SettleTime() time.Duration {
	if s.Settle == nil {
		return defaultSettle
	}
	return *s.Settle
}

// At is the source with its settings at another path.
func (s Source) At(path bucket.Location) Source {
	s.Path = path
	return s
}

// With is the source with one more file, instead of those at its path.
func (s Source) With(file bucket.Entry) Source {
	s.files = append(s.files, file)
	return s
}

// Find is the source that covers a file, folder or glob; without one the second result is
// false. Two of them are an error.
func Find(sources []Source, file bucket.Location) (found Source, ok bool, err error) {
	for _, s := range sources {
		if !s.covers(file) {
			continue
		}
		if ok {
			return found, ok, fmt.Errorf("%s is covered by two sources, %s and %s: name the one whose settings apply", file, found.Name, s.Name)
		}
		found, ok = s, true
	}
	return found, ok, nil
}

// covers reports whether a file, folder or glob is the source's, on whichever date.
func (s Source) covers(file bucket.Location) bool {
	const anyDate = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]"
	pattern := strings.TrimSuffix(filepath.ToSlash(s.Path.Clean().Replace(datePlaceholder, anyDate).String()), "/")
	name := strings.TrimSuffix(filepath.ToSlash(file.Clean().String()), "/")
	if matched, _ := path.Match(pattern, name); matched || pattern == name {
		return true
	}
	folder, base := path.Split(name)
	folder = strings.TrimSuffix(folder, "/")
	matched, _ := path.Match(pattern, folder)
	return (matched || pattern == folder) && extract.IsDelimitedText(base)
}

// Files lists the source's files as they are now, see [extract.List]: the order in
// which they are loaded, and so which of two conflicting rows wins. What is missing
// under a path with {date} in it is no error.
func (s Source) Files(ctx context.Context, stores *bucket.Stores, date time.Time) ([]bucket.Entry, error) {
	if s.files != nil {
		return s.files, nil
	}
	location := s.Path.Replace(datePlaceholder, date.Format(time.DateOnly))
	files, err := extract.List(ctx, stores, location)
	if errors.Is(err, fs.ErrNotExist) && location != s.Path {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", s.Name, err)
	}
	return files, nil
}
