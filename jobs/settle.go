package jobs

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/pipeline/extract"
)

const (
	// growingAfter bounds the wait for a file that does not stop growing; after it the attempt
	// is repeated later.
	growingAfter = 10 * time.Minute
	// openEnd is how many times longer a file must stand still whose last line has no end: a
	// writer that pauses within a line leaves 12 of 123.45.
	openEnd = 10
)

// errGrowing says that a file does not stand still. It is worth a retry, like a store that is
// unavailable.
var errGrowing error = growing{}

type growing struct{}

func (growing) Error() string { return "files are still written to" }

// Retryable is true; see postgres.Retryable, which asks.
func (growing) Retryable() bool { return true }

// watch has the files of a source whose writers may not have finished, until their size and
// time have stood still. A file that was modified long enough ago is not watched; one that
// was modified in the future, by another machine's clock, is watched by this one's.
type watch struct {
	settle time.Duration // 0: no file is watched
	bound  time.Duration // of the wait for a file that grows
	logger *slog.Logger

	files   map[bucket.Location]*watched // all that were ever watched
	waiting []*watched
	sorted  bool     // waiting is, by when they are due
	said    bool     // that there are files that are waited for
	growing []string // paths of files that were given up
}

type watched struct {
	file  bucket.Entry
	since time.Time // when it was first watched
	seen  time.Time // when it was first seen as it is
	due   time.Time // when it has stood still for long enough
}

func newWatch(settle, bound time.Duration, logger *slog.Logger) *watch {
	return &watch{settle: settle, bound: bound, logger: logger, files: map[bucket.Location]*watched{}}
}

// settled reports whether a file may be read. Otherwise it is watched. Objects are whole by
// nature.
func (w *watch) settled(file bucket.Entry) bool {
	if _, local := file.Local(); w.settle == 0 || !local || file.Version.IsZero() {
		return true
	}
	now := time.Now()
	f := w.see(file, now)
	if !f.due.After(now) {
		return true
	}
	w.queue(f)
	return false
}

// see notes how a file is now.
func (w *watch) see(file bucket.Entry, now time.Time) *watched {
	f := w.files[file.Location]
	if f == nil {
		f = &watched{since: now}
		w.files[file.Location] = f
	}
	if f.file.Version != file.Version {
		f.file, f.seen = file, now
		f.due = w.dueOf(f, now)
	}
	return f
}

func (w *watch) dueOf(f *watched, now time.Time) time.Time {
	from := f.seen
	if modified := time.Unix(0, f.file.Version.Modified); modified.Before(from) {
		from = modified
	}
	due, late := from.Add(w.settle), from.Add(openEnd*w.settle)
	if !late.After(now) {
		return due
	}
	path, _ := f.file.Local()
	if ends, err := extract.EndsLine(path); err == nil && !ends {
		return late
	}
	return due // reading it reports an error
}

// add watches a file that changed while it was read.
func (w *watch) add(ctx context.Context, file bucket.Entry) {
	now := time.Now()
	f := w.see(file, now)
	w.logger.InfoContext(ctx, "file changed while it was read; nothing of it is loaded yet", "path", file.Location)
	f.due = now
	w.queue(f)
}

func (w *watch) queue(f *watched) { w.waiting, w.sorted = append(w.waiting, f), false }

// next waits for the next file that has stood still; false when there is none any more.
func (w *watch) next(ctx context.Context) (bucket.Entry, bool, error) {
	for len(w.waiting) > 0 {
		if !w.sorted {
			slices.SortStableFunc(w.waiting, func(a, b *watched) int { return a.due.Compare(b.due) })
			w.sorted = true
		}
		f := w.waiting[0]
		if err := w.sleep(ctx, f); err != nil {
			return bucket.Entry{}, false, err
		}
		w.waiting = w.waiting[1:]
		if file, still := w.look(f); still {
			return file, true, nil
		}
	}
	return bucket.Entry{}, false, nil
}

// sleep waits until a file is due, and says so.
func (w *watch) sleep(ctx context.Context, f *watched) error {
	wait := time.Until(f.due)
	if wait > 0 && !w.said || wait > time.Second { // files that were written together are waited for together
		w.said = true
		w.logger.InfoContext(ctx, "waiting for files that may still be written to", "files", len(w.waiting), "path", f.file.Location,
			"for", wait.Round(time.Millisecond), "settle", w.settle)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(wait):
		return nil
	}
}

// look reports whether a file is as it was, and otherwise watches on, unless it has been
// growing for too long. A file that has gone is left to the loader, which reports it.
func (w *watch) look(f *watched) (bucket.Entry, bool) {
	path, _ := f.file.Local()
	info, err := os.Stat(path)
	if err != nil {
		return bucket.Entry{Location: f.file.Location}, true
	}
	now, version := time.Now(), bucket.VersionOf(info)
	switch {
	case version == f.file.Version:
		return f.file, true
	case now.Sub(f.since) > w.bound:
		w.growing = append(w.growing, path)
	default:
		w.queue(w.see(bucket.Entry{Location: f.file.Location, Version: version}, now))
	}
	return bucket.Entry{}, false
}

// err names the files that did not stand still.
func (w *watch) err() error {
	if len(w.growing) == 0 {
		return nil
	}
	return fmt.Errorf("%w after %s: %s", errGrowing, w.bound, strings.Join(w.growing, ", "))
}
