package jobs

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverlog"
	"github.com/riverqueue/river/rivertype"

	"github.com/opentax/tally/jobs/ledger"
)

const (
	queueName = "etl"
	jobKind   = "etl_run"
	// jobAttempts at a minute each is a working day of outage; after that
	// Reconcile makes a new job.
	jobAttempts = 500
	// busySnooze is when a job looks again at a run that another process has.
	busySnooze = 5 * time.Second
	// maxRetry bounds the back-off, so that a run goes on soon after an
	// outage of hours.
	maxRetry = time.Minute
	// River keeps each attempt's log in the job's row; the whole log is in
	// etl_logs.
	riverLogBytes      = 256 << 10
	riverLogTotalBytes = 1 << 20
	reindexHour        = 12
)

// runArgs is River's job: it only carries the run's id, the ledger knows the
// rest. The date is there to be seen in River UI.
type runArgs struct {
	RunID       int64  `json:"run_id"`
	LogicalDate string `json:"logical_date"`
}

// Kind names the job in River's table.
func (runArgs) Kind() string { return jobKind }

// InsertOpts are the same for every job.
func (runArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: queueName, MaxAttempts: jobAttempts}
}

func (s *Service) riverConfig() *river.Config {
	workers := river.NewWorkers()
	river.AddWorker(workers, &runWorker{retried[runArgs]{service: s}})
	river.AddWorker(workers, &exportWorker{retried[exportArgs]{service: s}})
	queues := map[string]river.QueueConfig{queueName: {MaxWorkers: 1}}
	if !s.config.ExportTo.IsZero() { // else whoever knows where to takes the job
		queues[exportQueue] = river.QueueConfig{MaxWorkers: 1}
	}
	return &river.Config{
		Queues:               queues,
		Workers:              workers,
		Logger:               s.logger,
		JobTimeout:           s.config.Timeout,
		RescueStuckJobsAfter: s.config.Timeout + rescueAfter,
		// By default River rebuilds its indexes at midnight, when the loads are.
		ReindexerSchedule: dailyAt{hour: reindexHour, zone: s.config.TimeZone},
		Middleware: []rivertype.Middleware{
			&tracing{tracer: s.config.Tracer.Tracer(tracerName)},
			riverlog.NewMiddleware(func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, nil) },
				&riverlog.MiddlewareConfig{MaxSizeBytes: riverLogBytes, MaxTotalBytes: riverLogTotalBytes}),
		},
	}
}

// dailyAt is a full hour of every day in a zone, away from midnight.
type dailyAt struct {
	hour int
	zone *time.Location
}

// Next is the first such moment after t.
func (d dailyAt) Next(t time.Time) time.Time {
	y, m, day := t.In(d.zone).Date()
	next := time.Date(y, m, day, d.hour, 0, 0, 0, d.zone)
	if !next.After(t) {
		next = time.Date(y, m, day+1, d.hour, 0, 0, 0, d.zone)
	}
	return next
}

// retried is what the workers of all kinds of jobs have in common.
type retried[T river.JobArgs] struct {
	river.WorkerDefaults[T]
	service *Service
}

// Timeout is finite, since River never rescues a job without one.
func (w *retried[T]) Timeout(*river.Job[T]) time.Duration { return w.service.config.Timeout }

// NextRetry doubles from a second to a minute.
func (w *retried[T]) NextRetry(job *river.Job[T]) time.Time {
	return time.Now().Add(backOff(len(job.Errors)))
}

// runWorker works on the run that a job names.
type runWorker struct{ retried[runArgs] }

// backOff is the pause after that many failures before this one.
func backOff(failures int) time.Duration {
	const doublings = 6 // 64 s is past maxRetry
	return min(maxRetry, time.Second<<min(failures, doublings))
}

// Work makes one attempt at the run. What becomes of the job follows from what
// became of the attempt:
//
//	succeeded, or somebody else's business by now   completed
//	failed                                          cancelled: once is enough
//	retrying                                        an error: River retries
//	interrupted, or another process has the run     snoozed: no attempt used up
func (w *runWorker) Work(ctx context.Context, job *river.Job[runArgs]) error {
	s := w.service
	above := slog.DiscardHandler
	if logger, ok := riverlog.LoggerSafely(ctx); ok {
		above = logger.Handler()
	}
	a, err := s.begin(ctx, job.Args.RunID, &job.ID)
	switch {
	case errors.Is(err, errRunFinished):
		slog.New(above).InfoContext(ctx, "nothing to do: the run is finished", slog.Int64("run", job.Args.RunID))
		return nil
	case errors.Is(err, ledger.ErrRunNotFound):
		return river.JobCancel(err)
	case errors.Is(err, ErrRunBusy):
		return river.JobSnooze(busySnooze)
	case err != nil && ctx.Err() != nil:
		return river.JobSnooze(0)
	case err != nil:
		return err
	}
	a.logger = slog.New(slog.NewMultiHandler(a.logger.Handler(), above))
	a.sources, a.known = s.queuedSources(a), knownToJob(a)
	result, end := s.attempt(ctx, a)
	if err := river.RecordOutput(ctx, result); err != nil {
		a.logger.WarnContext(ctx, "output for River UI", slog.Any("error", err))
	}
	return end.forRiver()
}

// forRiver turns the end of an attempt into what River is told.
func (e outcome) forRiver() error {
	switch e.status {
	case ledger.StatusSucceeded, statusFenced:
		return nil
	case ledger.StatusFailed:
		return river.JobCancel(e.err)
	case ledger.StatusInterrupted:
		return river.JobSnooze(0)
	}
	return e.err
}
