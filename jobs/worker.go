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
	"github.com/opentax/tally/pipeline/transform"
)

const (
	queueName   = "etl"
	jobKind     = "etl_run"
	jobAttempts = 500             // a minute apart, for an outage of a working day; then the run fails, or Reconcile makes a new job if it cannot be recorded
	busySnooze  = 5 * time.Second // of a run that another process works on
	maxRetry    = time.Minute     // so that a run continues soon after a long outage
	// River keeps each attempt's log in the job's row; etl_logs has all of it.
	riverLogBytes      = 256 << 10
	riverLogTotalBytes = 1 << 20
	reindexHour        = 12
)

// runArgs are the arguments of a run's River job. The ledger knows the rest; the date is
// for River UI.
type runArgs struct {
	RunID       int64  `json:"run_id"`
	LogicalDate string `json:"logical_date"`
	// Of a manual run: the source as which its paths are read, and the rules in place of its own.
	Source string           `json:"source,omitempty"`
	Rules  *transform.Rules `json:"rules,omitempty"`
}

func (runArgs) Kind() string { return jobKind }

func (runArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: queueName, MaxAttempts: jobAttempts}
}

func (s *Service) riverConfig() *river.Config {
	workers := river.NewWorkers()
	river.AddWorker(workers, &runWorker{retried[runArgs]{service: s}})
	river.AddWorker(workers, &exportWorker{retried[exportArgs]{service: s}})
	river.AddWorker(workers, &notifyWorker{service: s})
	river.AddWorker(workers, &verifyWorker{retried[verifyArgs]{service: s}})
	river.AddWorker(workers, &expireWorker{retried[expireArgs]{service: s}})
	river.AddWorker(workers, &retireWorker{retried[retireArgs]{service: s}})
	queues := map[string]river.QueueConfig{queueName: {MaxWorkers: 1}, retireQueue: {MaxWorkers: 1}}
	if !s.config.ExportTo.IsZero() { // else a process with a target takes the job, also of a retirement with an export
		queues[exportQueue] = river.QueueConfig{MaxWorkers: 1}
	}
	if len(s.channels) > 0 {
		queues[notifyQueue] = river.QueueConfig{MaxWorkers: notifyWorkers}
	}
	if s.config.Verify != VerifyOff {
		queues[verifyQueue] = river.QueueConfig{MaxWorkers: 1}
	}
	if s.config.Retention != (Retention{}) {
		queues[expireQueue] = river.QueueConfig{MaxWorkers: 1}
	}
	return &river.Config{
		Queues:               queues,
		Workers:              workers,
		Logger:               s.logger,
		JobTimeout:           s.config.Timeout,
		RescueStuckJobsAfter: s.config.Timeout + rescueAfter,
		// By default River rebuilds its indexes at midnight, during the loads.
		ReindexerSchedule: dailyAt{hour: reindexHour, zone: s.config.TimeZone},
		Middleware: []rivertype.Middleware{
			&tracing{tracer: s.config.Tracer.Tracer(tracerName)},
			riverlog.NewMiddleware(func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, nil) },
				&riverlog.MiddlewareConfig{MaxSizeBytes: riverLogBytes, MaxTotalBytes: riverLogTotalBytes}),
		},
	}
}

// dailyAt is a full hour of every day in a zone, not near midnight.
type dailyAt struct {
	hour int
	zone *time.Location
}

func (d dailyAt) Next(t time.Time) time.Time {
	y, m, day := t.In(d.zone).Date()
	next := time.Date(y, m, day, d.hour, 0, 0, 0, d.zone)
	if !next.After(t) {
		next = time.Date(y, m, day+1, d.hour, 0, 0, 0, d.zone)
	}
	return next
}

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

// backOff is the wait after that many failures before this one.
func backOff(failures int) time.Duration {
	const doublings = 6 // 64 s is more than maxRetry
	return min(maxRetry, time.Second<<min(failures, doublings))
}

// withRiverLog also logs to the job's row, for River UI.
func withRiverLog(ctx context.Context, logger *slog.Logger) *slog.Logger {
	river, ok := riverlog.LoggerSafely(ctx)
	if !ok {
		return logger
	}
	return slog.New(slog.NewMultiHandler(logger.Handler(), river.Handler()))
}

// recordOutput shows a result in River UI; a failure changes nothing else.
func recordOutput(ctx context.Context, logger *slog.Logger, result any) {
	if err := river.RecordOutput(ctx, result); err != nil {
		logger.WarnContext(ctx, "recording the job's output failed", "error", err)
	}
}

type runWorker struct{ retried[runArgs] }

// Work makes one attempt at the run. The job follows the attempt's outcome:
//
//	succeeded, or finished by another attempt       completed
//	failed                                          cancelled: not retried
//	retrying                                        an error: River retries
//	interrupted, or another process has the run     snoozed: uses no attempt
//	runs of earlier dates come first                snoozed, without an attempt in the
//	                                                ledger if it could read no source
func (w *runWorker) Work(ctx context.Context, job *river.Job[runArgs]) error {
	s := w.service
	left, all, err := s.waits(ctx, job.Args.RunID)
	switch {
	case err != nil && ctx.Err() != nil:
		return river.JobSnooze(0)
	case err != nil:
		return err
	case all:
		s.logger.DebugContext(ctx, "run waits for runs of earlier dates", "run", job.Args.RunID)
		return river.JobSnooze(left.snooze())
	}
	a, err := s.begin(ctx, job.Args.RunID, &job.ID)
	switch {
	case errors.Is(err, errRunFinished):
		withRiverLog(ctx, slog.New(slog.DiscardHandler)).InfoContext(ctx, "run is finished already", "run", job.Args.RunID)
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
	a.logger = withRiverLog(ctx, a.logger)
	a.known, a.waiting, a.last = knownToJob(a), left, job.Attempt%s.runTries == 0
	a.source, a.rules = job.Args.Source, job.Args.Rules
	result, out := s.attempt(ctx, a)
	recordOutput(ctx, a.logger, result)
	return out.jobError()
}
