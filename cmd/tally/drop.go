package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/opentax/tally/api/console"
	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/jobs"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/extract"
	"github.com/opentax/tally/pipeline/transform"
)

const (
	dropsName   = "dropped"      // of the folder in the data folder
	waitingName = ".waiting"     // ends the name of a file that is not loaded
	dropBytes   = 1 << 30        // of one file
	maxWaiting  = 10             // files that are not loaded
	waitsFor    = 24 * time.Hour // after which such a file is removed
	idLength    = 16             // of a name's random part
)

// drops keeps files that browsers have dropped. A file waits under a name of its own until it
// is loaded; then it stays, as sources do.
type drops struct {
	dir      string
	env      *environment
	settings settings
	enqueue  func(context.Context, jobs.RunRequest) (jobs.Queued, error)
	checks   chan struct{} // one at a time
}

// newDrop takes files into the data folder.
func (a *application) newDrop() (*console.Drop, error) {
	dir, err := a.dataDir()
	if err != nil {
		return nil, err
	}
	d := &drops{dir: filepath.Join(dir, dropsName), env: a.environment, settings: a.settings, enqueue: a.requests.Enqueue, checks: make(chan struct{}, 1)}
	return d.console(), nil
}

func (d *drops) console() *console.Drop {
	var names []string
	for _, source := range d.settings.jobs.Sources {
		names = append(names, source.Name)
	}
	return &console.Drop{MaxBytes: dropBytes, Sources: names, Save: d.save, Check: d.check, Load: d.load}
}

var (
	notInName = regexp.MustCompile(`[^A-Za-z0-9._-]+`)
	dropID    = regexp.MustCompile(`^[A-Z2-7]{16}-[A-Za-z0-9._-]{1,100}$`)
)

// save streams a file to the folder.
func (d *drops) save(_ context.Context, name string, content io.Reader) (id string, err error) {
	if err := os.MkdirAll(d.dir, 0o750); err != nil {
		return "", fmt.Errorf("keep a dropped file: %w", err)
	}
	if err := d.expire(time.Now()); err != nil {
		return "", err
	}
	name = notInName.ReplaceAllString(filepath.Base(name), "_")
	id = rand.Text()[:idLength] + "-" + name[max(0, len(name)-100):]
	path := d.waiting(id)
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return "", fmt.Errorf("keep a dropped file: %w", err)
	}
	written, err := io.Copy(file, io.LimitReader(content, dropBytes+1))
	if err = errors.Join(err, file.Close()); err == nil && written > dropBytes {
		err = console.ErrDropTooLarge
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("keep a dropped file: %w", err), os.Remove(path))
	}
	return id, nil
}

func (d *drops) waiting(id string) string { return filepath.Join(d.dir, id+waitingName) }

// expire removes files that were not loaded for a day, and reports whether there is room.
func (d *drops) expire(now time.Time) error {
	paths, err := filepath.Glob(filepath.Join(d.dir, "*"+waitingName))
	if err != nil {
		return fmt.Errorf("list the dropped files: %w", err)
	}
	left := 0
	for _, path := range paths {
		switch info, err := os.Lstat(path); {
		case err != nil: // another request has removed or loaded it
		case now.Sub(info.ModTime()) < waitsFor:
			left++
		default:
			if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("remove a dropped file: %w", err)
			}
		}
	}
	if left >= maxWaiting {
		return console.ErrDropsTooMany
	}
	return nil
}

// find is a waiting file.
func (d *drops) find(id string) (bucket.Location, error) {
	if !dropID.MatchString(id) {
		return bucket.Location{}, console.ErrDropNotFound
	}
	path := d.waiting(id)
	if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() {
		return bucket.Location{}, console.ErrDropNotFound
	}
	return bucket.Path(path), nil
}

// read proposes rules for a waiting file, and profiles it under them.
func (d *drops) read(ctx context.Context, path bucket.Location, as console.Reading) (transform.Rules, *transform.Profile, error) {
	select {
	case d.checks <- struct{}{}:
		defer func() { <-d.checks }()
	case <-ctx.Done():
		return transform.Rules{}, nil, ctx.Err()
	}
	flags := rulesFlags{Source: as.Source, Slash: as.Slash, Dash: as.Dash, Dot: as.Dot, Decimal: as.Decimal}
	source, err := flags.sourceOf(d.settings.jobs.Sources, path, d.settings.jobs.Currency)
	if err != nil {
		return transform.Rules{}, nil, fmt.Errorf("%w: %w", console.ErrDropNotFound, err)
	}
	today := civil.Of(time.Now().In(d.settings.jobs.TimeZone))
	return transform.Propose(ctx, d.env.stores, path, transform.Reading{Rules: source.Rules, LogicalDate: today})
}

func (d *drops) check(ctx context.Context, id string, as console.Reading) (console.Checked, error) {
	path, err := d.find(id)
	if err != nil {
		return console.Checked{}, err
	}
	checked := console.Checked{Name: id[idLength+1:]}
	rules, profile, err := d.read(ctx, path, as)
	if bad, ok := errors.AsType[*extract.FileError](err); ok {
		checked.Problem = strings.ReplaceAll(bad.Error(), path.String(), checked.Name)
		return checked, nil
	}
	if err != nil {
		return checked, err
	}
	of := pipeline.Source{Name: as.Source, Path: bucket.Path(checked.Name)}
	if of.Name == "" {
		of.Name = nameOf(of.Path)
	}
	for _, source := range d.settings.jobs.Sources {
		if source.Name == as.Source {
			of.Path = source.Path
		}
	}
	if checked.Settings, err = proposal(of.Name, of.Path, rules, profile); err != nil {
		return checked, err
	}
	return checked, fillChecked(&checked, profile, as)
}

func fillChecked(c *console.Checked, p *transform.Profile, as console.Reading) error {
	c.Size, c.Read, c.Valid, c.Rejected, c.Exceeded, c.Hints, c.Warnings = p.Size, p.Read, p.Valid, p.Rejected, p.Exceeded, p.Hints, p.Warnings
	chosen := map[string]string{"slash": as.Slash, "dash": as.Dash, "dot": as.Dot, "decimal": as.Decimal}
	for _, convention := range p.Conventions {
		if chosen[convention.Setting] != "" || convention.Choice == "" && convention.Ambiguous.Cells > 0 {
			c.Open = append(c.Open, convention.Setting)
		}
	}
	for _, f := range p.Faults {
		c.Faults = append(c.Faults, console.CheckedFault{Fault: f.Fault, Rows: f.Count, Line: f.Line, Example: f.Example})
	}
	for _, r := range p.Rows {
		amount, err := money.Parse(r.Amount.String())
		if err != nil {
			return fmt.Errorf("read the amount of line %d: %w", r.Line, err)
		}
		c.Rows = append(c.Rows, console.CheckedRow{Line: r.Line, UserID: int64(r.UserID), TransactionID: r.TransactionID,
			Amount: amount, Date: r.TransactionDate})
	}
	return nil
}

// load gives a waiting file to the workers, under the rules that were shown.
func (d *drops) load(ctx context.Context, id string, as console.Reading, by string) (runID int64, err error) {
	path, err := d.find(id)
	if err != nil {
		return 0, err
	}
	rules, _, err := d.read(ctx, path, as)
	if err != nil {
		return 0, fmt.Errorf("load a dropped file: %w", err)
	}
	target := filepath.Join(d.dir, id)
	settled := time.Now().Add(-time.Minute) // it is whole
	if err := errors.Join(os.Chtimes(d.waiting(id), settled, settled), os.Rename(d.waiting(id), target)); err != nil {
		return 0, fmt.Errorf("load a dropped file: %w", err)
	}
	queued, err := d.enqueue(ctx, jobs.RunRequest{Paths: []bucket.Location{bucket.Path(target)}, Source: as.Source, Rules: &rules, RequestedBy: by})
	if err != nil {
		return 0, errors.Join(err, os.Rename(target, d.waiting(id)))
	}
	return queued.RunID, nil
}
