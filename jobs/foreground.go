package jobs

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/load"
	"github.com/opentax/tally/pipeline/transform"
)

// foregroundTries is how often a run in the foreground is tried with Retry set;
// with the back-off that bridges about a quarter of a minute.
const foregroundTries = 5

// manualSource is how the ledger calls paths given by hand without a source.
const manualSource = "manual"

// RunRequest asks for a run in the foreground.
type RunRequest struct {
	// Paths are files, folders or globs. Without any, the run is that of the date over
	// the configured sources.
	Paths []bucket.Location
	// Source names the configured source whose rules hold for Paths; "" means
	// Rules.
	Source string
	// Rules hold for Paths where no Source is named.
	Rules transform.Rules
	// Date is the logical date; nil means the day that has just ended.
	Date *civil.Date
	// RequestedBy goes to the ledger; "" means "cli".
	RequestedBy string
	// Progress may be nil. It is called from the goroutine that loads.
	Progress func(pipeline.Progress)
	// Retry tries again, a few times with a back-off, what a lost connection or
	// the like has broken.
	Retry bool
}

// RunResult is what became of a run, or of one attempt at it.
type RunResult struct {
	RunID       int64         `json:"run_id"`
	Attempt     int           `json:"attempt"`
	LogicalDate civil.Date    `json:"logical_date"`
	Status      string        `json:"status"`
	Error       string        `json:"error,omitempty"`
	Files       []load.Result `json:"files"`
}

// Run works on a run here and now. With paths it is a run of its own kind, which
// no worker ever takes over; without, it is the one run of the date, which is
// made where it is missing and is tried anew where it is over. ctx's end
// interrupts it: nothing half loaded stays, and the run of a date is then taken
// over by a worker, if one is running.
//
// The result tells of every file, also with an error. The error is nil if and
// only if the run succeeded; a [FilesError] says that files failed, and
// [ErrRunBusy] that a worker is at the same run.
func (s *Service) Run(ctx context.Context, req RunRequest) (RunResult, error) {
	if req.RequestedBy == "" {
		req.RequestedBy = "cli"
	}
	sources, err := s.sourcesOf(req)
	if err != nil {
		return RunResult{}, err
	}
	runID, err := s.runFor(ctx, req)
	if err != nil {
		return RunResult{}, err
	}
	for try := 1; ; try++ {
		result, end, err := s.tryForeground(ctx, req, runID, sources, try)
		if err != nil {
			return result, err
		}
		if end.status != ledger.StatusRetrying || !req.Retry || try == foregroundTries || !s.pause(ctx, try) {
			return result, end.err
		}
	}
}

func (s *Service) tryForeground(ctx context.Context, req RunRequest, runID int64, sources []pipeline.Source, try int) (RunResult, outcome, error) {
	a, err := s.begin(ctx, runID, nil)
	if err != nil {
		return RunResult{RunID: runID, Files: []load.Result{}}, outcome{}, err
	}
	a.sources, a.progress = sources, req.Progress
	if try > 1 {
		a.known = knownOfRun
	}
	result, end := s.attempt(ctx, a)
	s.flushLogs(ctx)
	return result, end, nil
}

// flushLogs has this process's part of a run's log in the database when the run is
// reported, if that takes no longer than a moment.
func (s *Service) flushLogs(ctx context.Context) {
	flushing, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushAtEnd)
	defer cancel()
	if err := s.logs.Flush(flushing); err != nil {
		s.logger.WarnContext(ctx, "the run's log is not all in the database yet", slog.Any("error", err))
	}
}

// pause waits before the next try and tells whether there is to be one.
func (s *Service) pause(ctx context.Context, try int) bool {
	wait := backOff(try - 1)
	s.logger.WarnContext(ctx, "trying again", slog.Duration("in", wait))
	select {
	case <-ctx.Done():
		return false
	case <-time.After(wait):
		return true
	}
}

func (s *Service) sourcesOf(req RunRequest) ([]pipeline.Source, error) {
	if len(req.Paths) == 0 {
		return s.config.Sources, nil
	}
	name, rules := manualSource, req.Rules
	if req.Source != "" {
		i := s.sourceIndex(req.Source)
		if i < 0 {
			return nil, fmt.Errorf("run: there is no source %q", req.Source)
		}
		name, rules = req.Source, s.config.Sources[i].Rules
	}
	sources := make([]pipeline.Source, len(req.Paths))
	for i, path := range req.Paths {
		sources[i] = pipeline.Source{Name: name, Path: path, Rules: rules}
		if err := sources[i].Check(); err != nil {
			return nil, fmt.Errorf("run: %w", err)
		}
	}
	return sources, nil
}

func (s *Service) sourceIndex(name string) int {
	for i, source := range s.config.Sources {
		if source.Name == name {
			return i
		}
	}
	return -1
}

// runFor finds or makes the run that a request is about.
func (s *Service) runFor(ctx context.Context, req RunRequest) (int64, error) {
	date := s.lastEnded(s.config.Clock.Now())
	if req.Date != nil {
		date = *req.Date
	}
	if len(req.Paths) > 0 {
		return s.createManual(ctx, req, date)
	}
	if err := s.checkEnded(date); err != nil {
		return 0, err
	}
	var runID int64
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		// No job: the attempt starts right away. Should it not, Reconcile finds
		// the run.
		n := newRuns{kind: ledger.KindBackfill, dates: []civil.Date{date}, requestedBy: req.RequestedBy, origin: s.config.Worker}
		created, err := s.createRuns(ctx, tx, n)
		if err != nil {
			return err
		}
		r := ledger.Run{LogicalDate: date}
		if err := tx.QueryRow(ctx, runOfDate, date.String()).Scan(&r.ID, &n.kind); err != nil {
			return err
		}
		runID = r.ID
		if len(created) > 0 {
			return nil
		}
		return s.recordRequest(ctx, tx, r, n) // asked for again
	})
	if err != nil {
		return 0, fmt.Errorf("find the run of %s: %w", date, err)
	}
	return runID, nil
}

func (s *Service) createManual(ctx context.Context, req RunRequest, date civil.Date) (int64, error) {
	q, err := s.enterManual(ctx, req, date, false)
	return q.RunID, err
}

// enterManual writes a run of paths to the ledger, with a River job where it is for the
// workers.
func (s *Service) enterManual(ctx context.Context, req RunRequest, date civil.Date, enqueue bool) (q Queued, err error) {
	r := ledger.Run{Kind: ledger.KindManual, LogicalDate: date}
	names := make([]string, len(req.Paths))
	for i, path := range req.Paths {
		names[i] = path.String()
	}
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) (err error) {
		if err := tx.QueryRow(ctx, insertManual, date.String(), req.RequestedBy, names).Scan(&r.ID); err != nil {
			return err
		}
		if enqueue {
			if q.JobID, err = s.insertJob(ctx, tx, r.ID, date); err != nil {
				return err
			}
		}
		return s.recordRequest(ctx, tx, r, newRuns{kind: ledger.KindManual, requestedBy: req.RequestedBy, origin: s.config.Worker})
	})
	if err != nil {
		return Queued{}, fmt.Errorf("create a run: %w", err)
	}
	q.RunID = r.ID
	return q, nil
}

func (s *Service) checkEnded(d civil.Date) error {
	if last := s.lastEnded(s.config.Clock.Now()); d > last {
		return fmt.Errorf("logical date %s (the last that can be run is %s, in %s): %w", d, last, s.config.TimeZone, ledger.ErrNotEnded)
	}
	return nil
}
