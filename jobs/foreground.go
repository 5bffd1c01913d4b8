package jobs

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/load"
	"github.com/opentax/tally/pipeline/transform"
)

const (
	foregroundTries = 5                     // of a run with Retry set: the back-off makes that a quarter of a minute
	queuedEvery     = 50 * time.Millisecond // between Await's looks at a job
	manualSource    = ledger.SourceManual
)

// RunRequest asks for a run in the foreground.
type RunRequest struct {
	// Paths are files, folders or globs. Without any, the run is that of the date over the
	// configured sources.
	Paths       []bucket.Location
	Source      string                  // the configured source whose settings apply to Paths; "" means the one that covers a path
	Change      func(*pipeline.Source)  // changes the settings for Paths; nil leaves them
	Rules       *transform.Rules        // in place of the source's own, for Paths; nil leaves them
	Full        bool                    // read files also that are known by size and time
	Date        *civil.Date             // the logical date; nil means the last day that ended
	RequestedBy string                  // for the ledger; "" means "cli"
	Progress    func(pipeline.Progress) // may be nil; called from the goroutine that loads
	Retry       bool                    // a few times, with a back-off, after a transient error
}

// RunResult is the result of a run, or of one attempt at it.
type RunResult struct {
	RunID       int64      `json:"run_id"`
	Attempt     int        `json:"attempt"`
	LogicalDate civil.Date `json:"logical_date"`
	Status      string     `json:"status"`
	Error       string     `json:"error,omitempty"`
	// Files are those that were read, and of a run of paths also those that are known.
	Files []load.Result `json:"files"`
	// Unchanged counts the files whose content is loaded already.
	Unchanged int `json:"unchanged"`
}

// Run carries out a run in this process. With paths it is a manual run, which is never
// requeued; without, it is the one run of the date, which is created if it is missing and
// tried again if it is finished. The end of ctx interrupts it: nothing half loaded stays,
// and a worker then continues the run of a date.
//
// The result has every file that was read to its end, also with an error. The error is nil if and only if the run
// succeeded; a [FilesError] reports files that failed, [ErrRunBusy] that a worker has the
// run.
func (s *Service) Run(ctx context.Context, req RunRequest) (RunResult, error) {
	req.RequestedBy = cmp.Or(req.RequestedBy, "cli")
	none := RunResult{Files: []load.Result{}} // JSON has no null for it
	date, err := s.dateOf(ctx, req.Date)
	if err != nil {
		return none, fmt.Errorf("run: %w", err)
	}
	req.Date = &date
	sources, err := s.sourcesOf(ctx, req)
	if err != nil {
		return none, err
	}
	runID, err := s.runFor(ctx, req)
	if err != nil {
		return none, err
	}
	for try := 1; ; try++ {
		a, err := s.begin(ctx, runID, nil)
		if err != nil {
			return RunResult{RunID: runID, Files: []load.Result{}}, err
		}
		a.sources, a.progress, a.full = sources, req.Progress, req.Full
		if try > 1 {
			a.known = knownOfRun
		}
		result, out := s.attempt(ctx, a)
		s.flushLogs(ctx)
		growing := errors.Is(out.err, errGrowing) // it was waited for
		if out.status != ledger.StatusRetrying || growing || !req.Retry || try == foregroundTries || !s.pause(ctx, try) {
			return result, out.err
		}
	}
}

// flushLogs writes the run's log before the run is reported, unless that takes seconds.
func (s *Service) flushLogs(ctx context.Context) {
	flushing, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	if err := s.logs.Flush(flushing); err != nil {
		s.logger.WarnContext(ctx, "the run's log is not all in the database yet", "error", err)
	}
}

// pause waits for the next try and reports whether there is one.
func (s *Service) pause(ctx context.Context, try int) bool {
	wait := backOff(try - 1)
	s.logger.WarnContext(ctx, "run will be retried", "in", wait)
	select {
	case <-ctx.Done():
		return false
	case <-time.After(wait):
		return true
	}
}

func (s *Service) sourcesOf(ctx context.Context, req RunRequest) ([]pipeline.Source, error) {
	if len(req.Paths) == 0 {
		return s.config.Sources, nil
	}
	var sources []pipeline.Source
	for _, path := range req.Paths {
		ofPath, err := s.sourcesOfPath(ctx, path, req.Source, *req.Date)
		if err != nil {
			return nil, fmt.Errorf("run: %w", err)
		}
		for _, source := range ofPath {
			if req.Rules != nil {
				source.Rules = *req.Rules
			}
			if req.Change != nil {
				req.Change(&source)
			}
			if err := source.Check(); err != nil {
				return nil, fmt.Errorf("run: %w", err)
			}
			sources = append(sources, source)
		}
	}
	return sources, nil
}

// sourcesOfPath are the sources by whose settings the files of a path are read that was
// given by hand: the one that is named or covers the path, or those that cover its files.
func (s *Service) sourcesOfPath(ctx context.Context, path bucket.Location, name string, date civil.Date) ([]pipeline.Source, error) {
	if name != "" {
		i := slices.IndexFunc(s.config.Sources, func(s pipeline.Source) bool { return s.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no source %q", name)
		}
		return []pipeline.Source{s.config.Sources[i].At(path)}, nil
	}
	whole, covered, err := s.sourceOf(path)
	if covered || err != nil {
		return []pipeline.Source{whole}, err
	}
	files, err := whole.Files(ctx, s.config.Stores, date.Time())
	if err != nil {
		return []pipeline.Source{whole}, nil //nolint:nilerr // loading it reports the error
	}
	var each []pipeline.Source // consecutive files of one source together
	some := false
	for _, file := range files {
		source, covered, err := s.sourceOf(file.Location)
		if err != nil {
			return nil, err
		}
		some = some || covered
		if last := len(each) - 1; last >= 0 && each[last].Name == source.Name {
			each[last] = each[last].With(file)
		} else {
			each = append(each, source.With(file))
		}
	}
	if some {
		return each, nil
	}
	return []pipeline.Source{whole}, nil
}

// sourceOf is the source that covers a path, or else one without settings.
func (s *Service) sourceOf(path bucket.Location) (source pipeline.Source, covered bool, err error) {
	source, covered, err = pipeline.Find(s.config.Sources, path)
	if !covered {
		source = pipeline.Source{Name: manualSource, Rules: transform.Rules{Currency: s.config.Currency}}
	}
	return source.At(path), covered, err
}

// Queued is a run that was given to the workers, and its River job.
type Queued struct{ RunID, JobID int64 }

// Enqueue gives a run of paths to the workers. Any worker of the database may take it, so all of
// them need access to the paths. Like any manual run it is not requeued when its worker crashes.
func (s *Service) Enqueue(ctx context.Context, req RunRequest) (Queued, error) {
	date, err := s.dateOf(ctx, req.Date)
	if err != nil {
		return Queued{}, fmt.Errorf("enqueue: %w", err)
	}
	req.Date = &date
	if _, err := s.sourcesOf(ctx, req); err != nil {
		return Queued{}, err
	}
	return s.createManual(ctx, req, true)
}

func (s *Service) queuedSources(ctx context.Context, a *attempt) ([]pipeline.Source, error) {
	if a.kind != ledger.KindManual {
		return s.config.Sources, nil
	}
	paths := make([]bucket.Location, len(a.paths))
	for i, path := range a.paths {
		var err error
		if paths[i], err = bucket.Parse(path); err != nil {
			paths[i] = bucket.Path(path) // reading it reports the error
		}
	}
	return s.sourcesOf(ctx, RunRequest{Paths: paths, Source: a.source, Rules: a.rules, Date: &a.date})
}

// Await waits until a queued run is finished. As with [Service.Run], the error is nil if
// and only if the run succeeded.
func (s *Service) Await(ctx context.Context, q Queued) (RunResult, error) {
	for {
		job, err := s.river.JobGet(ctx, q.JobID)
		if err != nil {
			return RunResult{}, fmt.Errorf("await run %d: %w", q.RunID, err)
		}
		if job.FinalizedAt != nil {
			s.flushLogs(ctx)
			return resultOf(job.Output(), string(job.State))
		}
		select {
		case <-ctx.Done():
			return RunResult{}, fmt.Errorf("await run %d: %w", q.RunID, ctx.Err())
		case <-time.After(queuedEvery):
		}
	}
}

// resultOf reads the job's output, which the worker wrote for River UI.
func resultOf(output []byte, state string) (r RunResult, err error) {
	if output == nil {
		return r, fmt.Errorf("the job is %s and has no result", state)
	}
	if err := json.Unmarshal(output, &r); err != nil {
		return r, fmt.Errorf("read the job's result: %w", err)
	}
	if r.Status != ledger.StatusSucceeded {
		return r, errors.New(r.Error)
	}
	return r, nil
}
