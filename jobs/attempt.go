package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/panics"
	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/load"
	"github.com/opentax/tally/pipeline/transform"
)

// statusFenced is not a status of a run: a later attempt has recorded this one as lost.
const statusFenced = "fenced"

// recordTimeout bounds the recording of an outcome, which may come after the end of the
// work's own context.
const recordTimeout = 10 * time.Second

var (
	errRunFinished = errors.New("the run is finished")
	errTimeout     = errors.New("the attempt took longer than its timeout")
	errCancelled   = errors.New("cancelled through River")
)

// attempt is one try at a run, from acquiring its lock to recording its outcome.
type attempt struct {
	runID    int64
	kind     string
	date     civil.Date
	paths    []string
	number   int
	previous string // status of the run before
	lock     *runLock
	leave    func() // gives up the turn
	logger   *slog.Logger

	source   string           // as which the paths are read; "" means the one that covers each
	rules    *transform.Rules // in place of the source's own; nil leaves them
	sources  []pipeline.Source
	known    knownScope
	waiting  waiting     // sources that are left out
	aside    asideErrors // files to be tried again
	last     bool        // of the tries that a job has
	full     bool        // read also files that are known by size and time
	progress func(pipeline.Progress)
}

// outcome is the result of an attempt; err is the reason where it did not succeed.
type outcome struct {
	status string
	err    error
}

// text is the reason for the ledger, "" where there is none.
func (o outcome) text() string {
	if o.err == nil {
		return ""
	}
	return postgres.Text(o.err.Error())
}

// filesOnly reports whether nothing failed but files, which have entries of their own.
func (o outcome) filesOnly() bool {
	failed, ok := errors.AsType[*FilesError](o.err)
	return ok && len(failed.Other) == 0
}

// begin waits until the pool has connections for a run, locks the run, records an earlier
// attempt that crashed as lost, and records the new one; from then on no earlier attempt can commit. A job gets errRunFinished where
// nothing is left to do.
func (s *Service) begin(ctx context.Context, runID int64, jobID *int64) (*attempt, error) {
	leave, err := s.takeTurn(ctx)
	if err != nil {
		return nil, err
	}
	lock, err := lockRun(ctx, s.sessions(), runID)
	if err != nil {
		leave()
		return nil, err
	}
	a := &attempt{runID: runID, lock: lock, leave: leave}
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error { return s.recordStart(ctx, tx, a, jobID) })
	if err != nil {
		a.end(ctx)
		return nil, fmt.Errorf("start an attempt at run %d: %w", runID, err)
	}
	logger := s.logger.With("run", runID, "attempt", a.number)
	a.logger = slog.New(slog.NewMultiHandler(logger.Handler(), s.logs.handler(logKey{runID, a.number})))
	return a, nil
}

func (s *Service) takeTurn(ctx context.Context) (leave func(), err error) {
	select {
	case s.turns <- struct{}{}:
		return func() { <-s.turns }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for a run to end: %w", ctx.Err())
	}
}

// end gives back the run's connection, then its turn.
func (a *attempt) end(ctx context.Context) {
	a.lock.release(ctx)
	a.leave()
}

func (s *Service) recordStart(ctx context.Context, tx pgx.Tx, a *attempt, jobID *int64) error {
	err := tx.QueryRow(ctx, s.sql.Get("lock_run"), a.runID).Scan(&a.kind, &a.date, &a.paths)
	if errors.Is(err, pgx.ErrNoRows) {
		return ledger.ErrRunNotFound
	}
	if err != nil {
		return err
	}
	var last int
	var lastJob *int64
	if err := tx.QueryRow(ctx, s.sql.Get("last_attempt"), a.runID).Scan(&a.previous, &last, &lastJob); err != nil {
		return err
	}
	if finished(a.previous, jobID, lastJob) {
		return errRunFinished
	}
	if a.previous == ledger.StatusRunning {
		if _, err := tx.Exec(ctx, s.sql.Get("record_lost"), a.runID, last); err != nil {
			return fmt.Errorf("record attempt %d as lost: %w", last, err)
		}
		a.previous = ledger.StatusLost
	}
	a.number = last + 1
	_, err = tx.Exec(ctx, s.sql.Get("start_attempt"), a.runID, a.number, jobID, s.config.Worker, s.config.CodeVersion)
	return err
}

// finished reports whether a job has nothing to do. A job that failed and returns was
// retried by an operator in River UI; any other was overtaken, or rescued by River too
// late. A run in the foreground was requested.
func finished(status string, job, lastJob *int64) bool {
	if job == nil {
		return false
	}
	retried := lastJob != nil && *lastJob == *job
	return status == ledger.StatusSucceeded || status == ledger.StatusFailed && !retried
}

// attempt does the work, records the outcome and releases the run's lock.
func (s *Service) attempt(ctx context.Context, a *attempt) (RunResult, outcome) {
	defer a.end(ctx)
	working := a.lock.guard(ctx)
	a.logger.InfoContext(ctx, "run started", "kind", a.kind, "logical_date", a.date.String(),
		"worker", s.config.Worker, "code_version", s.config.CodeVersion, "previous", a.previous)
	result := RunResult{RunID: a.runID, Attempt: a.number, LogicalDate: a.date, Files: []load.Result{}}
	err := s.loadOrRecover(working, a, &result)
	out := s.recordOutcome(ctx, a, a.bound(classify(working, err)))
	result.Status, result.Error = out.status, out.text()
	if a.kind != ledger.KindManual && ctx.Err() == nil {
		if err := s.wake(ctx); err != nil { // the next tick does it
			a.logger.WarnContext(ctx, "waking the next run failed", "error", err)
		}
	}
	return result, out
}

// loadOrRecover makes an error of a panic, so that a bug fails one run only.
func (s *Service) loadOrRecover(ctx context.Context, a *attempt, result *RunResult) (err error) {
	defer panics.Recover(&err)
	return s.loadSources(ctx, a, result)
}

// classify decides once what an error means for the run.
func classify(ctx context.Context, err error) outcome {
	if files, ok := errors.AsType[*FilesError](err); ok {
		return outcome{ledger.StatusFailed, files} // after trying all of them
	}
	switch stopped := stopCause(ctx); {
	case err == nil:
		return outcome{status: ledger.StatusSucceeded}
	case errors.Is(err, load.ErrFenced):
		return outcome{statusFenced, err}
	case stopped.err != nil:
		return stopped
	case postgres.Retryable(err):
		return outcome{ledger.StatusRetrying, err}
	}
	return outcome{ledger.StatusFailed, err}
}

// stopCause is the outcome of work whose context ended, and zero while it goes on.
func stopCause(ctx context.Context) outcome {
	switch cause := context.Cause(ctx); {
	case cause == nil:
		return outcome{}
	case errors.Is(cause, errLockLost):
		return outcome{ledger.StatusRetrying, cause}
	case errors.Is(cause, river.ErrJobCancelledRemotely):
		return outcome{ledger.StatusFailed, errCancelled}
	case errors.Is(cause, context.DeadlineExceeded):
		return outcome{ledger.StatusFailed, errTimeout}
	default:
		return outcome{ledger.StatusInterrupted, fmt.Errorf("interrupted: %w", cause)}
	}
}

// recordOutcome works although ctx may have ended. If it fails, the attempt counts as
// lost and is repeated, which changes nothing about files that are loaded.
func (s *Service) recordOutcome(ctx context.Context, a *attempt, out outcome) outcome {
	out.log(ctx, a.logger, "run ended")
	if out.status == statusFenced {
		return out
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	var recorded int64
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, s.sql.Get("end_attempt"), a.runID, a.number, out.status, out.text(), out.filesOnly())
		recorded = tag.RowsAffected()
		if err != nil || recorded == 0 || out.status != ledger.StatusSucceeded && out.status != ledger.StatusFailed {
			return err
		}
		if err := s.insertExpire(ctx, tx, a.date); err != nil {
			return err
		}
		return s.insertExport(ctx, tx, a.runID, a.date)
	})
	if err != nil {
		return outcome{ledger.StatusRetrying, fmt.Errorf("record the outcome of run %d: %w", a.runID, err)}
	}
	if recorded == 0 {
		return outcome{statusFenced, load.ErrFenced} // recorded as lost already
	}
	return out
}

// onlyWaits reports whether nothing but the runs of earlier dates is to be waited for.
func (o outcome) onlyWaits() (*turnError, bool) {
	early, ok := errors.AsType[*turnError](o.err)
	_, aside := errors.AsType[asideErrors](o.err)
	return early, ok && !aside && !errors.Is(o.err, bucket.ErrUnavailable)
}

func (o outcome) log(ctx context.Context, logger *slog.Logger, message string, attrs ...any) {
	level := slog.LevelInfo
	attrs = append(attrs, "status", o.status)
	if o.err != nil {
		level = slog.LevelWarn
		attrs = append(attrs, "error", o.err)
	}
	if o.status == ledger.StatusFailed {
		level = slog.LevelError
	}
	logger.Log(ctx, level, message, attrs...)
}

// jobError turns an outcome into the answer to River; see [runWorker.Work].
func (o outcome) jobError() error {
	switch o.status {
	case ledger.StatusSucceeded, statusFenced:
		return nil
	case ledger.StatusFailed:
		return river.JobCancel(o.err)
	case ledger.StatusInterrupted:
		return river.JobSnooze(0)
	}
	if early, ok := o.onlyWaits(); ok {
		return river.JobSnooze(early.left.snooze())
	}
	return o.err
}
