package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/load"
)

// statusFenced is no state of a run: the attempt gave way to a later one, which has
// noted it as lost.
const statusFenced = "fenced"

// recordTimeout bounds the writing of an outcome, which outlives the work's own
// context.
const recordTimeout = 10 * time.Second

var (
	errRunFinished   = errors.New("the run is finished")
	errTimeout   = errors.New("the attempt took longer than its timeout")
	errCancelled = errors.New("cancelled through River")
)

// attempt is one try at a run, from the taking of its lock to its outcome.
type attempt struct {
	runID  int64
	kind   string
	date   civil.Date
	paths  []string
	number int
	before string // state of the run before
	lock   *runLock
	logger *slog.Logger
	lost   chan error // the lock's end

	sources  []pipeline.Source
	known    knownScope
	progress func(pipeline.Progress)
}

// outcome is how an attempt ended; err says why it did not succeed.
type outcome struct {
	status string
	err    error
}

// text is the reason as the ledger keeps it, "" where there is none.
func (e outcome) text() string {
	if e.err == nil {
		return ""
	}
	return postgres.Text(e.err.Error())
}

// begin starts an attempt at a run: it takes the run's lock, notes an earlier
// attempt that left no word as lost, and writes the new attempt to the ledger,
// from which moment no earlier attempt can commit. For a job, errRunFinished says
// that there is nothing left to do.
func (s *Service) begin(ctx context.Context, runID int64, jobID *int64) (*attempt, error) {
	a := &attempt{runID: runID, lost: make(chan error, 1)}
	lock, err := lockRun(ctx, s.pool, runID, func(err error) { a.lost <- err })
	if err != nil {
		return nil, err
	}
	a.lock = lock
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error { return s.enter(ctx, tx, a, jobID) })
	if err != nil {
		lock.release(ctx)
		return nil, fmt.Errorf("begin an attempt at run %d: %w", runID, err)
	}
	a.logger = s.attemptLogger(a)
	return a, nil
}

func (s *Service) enter(ctx context.Context, tx pgx.Tx, a *attempt, jobID *int64) error {
	err := tx.QueryRow(ctx, s.sql.Get("lock_run"), a.runID).Scan(&a.kind, &a.date, &a.paths)
	if errors.Is(err, pgx.ErrNoRows) {
		return ledger.ErrRunNotFound
	}
	if err != nil {
		return err
	}
	var last int
	var lastJob *int64
	if err := tx.QueryRow(ctx, s.sql.Get("last_attempt"), a.runID).Scan(&a.before, &last, &lastJob); err != nil {
		return err
	}
	if finished(a.before, jobID, lastJob) {
		return errRunFinished
	}
	if a.before == ledger.StatusRunning {
		if _, err := tx.Exec(ctx, s.sql.Get("record_lost"), a.runID, last); err != nil {
			return fmt.Errorf("note attempt %d as lost: %w", last, err)
		}
		a.before = ledger.StatusLost
	}
	a.number = last + 1
	_, err = tx.Exec(ctx, s.sql.Get("start_attempt"), a.runID, a.number, jobID, s.config.Worker, s.config.CodeVersion)
	return err
}

// finished reports whether a job finds nothing to do. A job that failed and comes back
// was retried by hand in River UI; any other was overtaken, or rescued by River
// long after the ledger knew better. A run in the foreground was asked for.
func finished(status string, job, lastJob *int64) bool {
	if job == nil {
		return false
	}
	again := lastJob != nil && *lastJob == *job
	return status == ledger.StatusSucceeded || status == ledger.StatusFailed && !again
}

// attempt does the work of an attempt and notes its outcome. It gives the run's
// lock back.
func (s *Service) attempt(ctx context.Context, a *attempt) (RunResult, outcome) {
	defer a.lock.release(ctx)
	working, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case err := <-a.lost:
			cancel(err)
		case <-working.Done():
		}
	}()
	a.logger.InfoContext(ctx, "run started", slog.String("kind", a.kind), slog.String("logical_date", a.date.String()),
		slog.String("worker", s.config.Worker), slog.String("code_version", s.config.CodeVersion), slog.String("before", a.before))
	result := RunResult{RunID: a.runID, Attempt: a.number, LogicalDate: a.date, Files: []load.Result{}}
	err := s.recovered(working, a, &result)
	end := classify(working, err)
	end = s.recordOutcome(ctx, a, end)
	result.Status, result.Error = end.status, end.text()
	return result, end
}

// recovered keeps a panic, which is a bug, from taking the run with it: the run
// fails and says so.
func (s *Service) recovered(ctx context.Context, a *attempt, result *RunResult) (err error) {
	defer func() {
		if p := recover(); p != nil {
			a.logger.ErrorContext(ctx, "panic", slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return s.loadSources(ctx, a, result)
}

// classify decides once what an error means for the run.
func classify(ctx context.Context, err error) outcome {
	cause := context.Cause(ctx)
	if files, ok := errors.AsType[*FilesError](err); ok {
		return outcome{ledger.StatusFailed, files} // it went through all of them
	}
	switch {
	case err == nil:
		return outcome{status: ledger.StatusSucceeded}
	case errors.Is(err, load.ErrFenced):
		return outcome{statusFenced, err}
	case errors.Is(cause, errLockLost):
		return outcome{ledger.StatusRetrying, cause}
	case errors.Is(cause, river.ErrJobCancelledRemotely):
		return outcome{ledger.StatusFailed, errCancelled}
	case errors.Is(cause, context.DeadlineExceeded):
		return outcome{ledger.StatusFailed, errTimeout}
	case cause != nil:
		return outcome{ledger.StatusInterrupted, fmt.Errorf("interrupted: %w", cause)}
	case postgres.Retryable(err):
		return outcome{ledger.StatusRetrying, err}
	default:
		return outcome{ledger.StatusFailed, err}
	}
}

// recordOutcome writes the outcome down, although the work's context may be over. An
// outcome that cannot be written is not one: the attempt counts as lost and is
// made again, which does nothing to files that are loaded.
func (s *Service) recordOutcome(ctx context.Context, a *attempt, end outcome) outcome {
	logOutcome(ctx, a.logger, end)
	if end.status == statusFenced {
		return end
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	var noted int64
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, s.sql.Get("end_attempt"), a.runID, a.number, end.status, end.text())
		if noted = tag.RowsAffected(); err != nil || noted == 0 {
			return err
		}
		return s.insertExport(ctx, tx, a, end)
	})
	if err != nil {
		return outcome{ledger.StatusRetrying, fmt.Errorf("record the outcome of run %d: %w", a.runID, err)}
	}
	if noted == 0 {
		return outcome{statusFenced, load.ErrFenced} // somebody has noted it as lost
	}
	return end
}

func logOutcome(ctx context.Context, logger *slog.Logger, end outcome) {
	level, attrs := slog.LevelInfo, []slog.Attr{slog.String("status", end.status)}
	if end.err != nil {
		level = slog.LevelWarn
		attrs = append(attrs, slog.Any("error", end.err))
	}
	if end.status == ledger.StatusFailed {
		level = slog.LevelError
	}
	logger.LogAttrs(ctx, level, "run ended", attrs...)
}
