package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverlog"
	"github.com/riverqueue/river/rivertype"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/parquet"
)

const (
	exportQueue = "export"
	exportKind  = "export"
	// exportConns are what an export holds besides the runs' connections.
	exportConns = 3
)

// ErrNoExport says that nothing is named to export to.
var ErrNoExport = errors.New("nothing says where to export to")

// ExportRequest asks for an export in the foreground.
type ExportRequest struct {
	// To is a folder, or s3://, gs:// or azblob:// with a bucket and a prefix; the zero
	// value means Config.ExportTo.
	To bucket.Location
	// Replace writes every file anew, and takes the place of another database's export.
	Replace bool
	// RequestedBy goes to the ledger; "" means "cli".
	RequestedBy string
	// Progress may be nil.
	Progress func(pipeline.Progress)
}

// Export brings a target up to date with the database, and notes it in the ledger,
// however it ends.
func (s *Service) Export(ctx context.Context, req ExportRequest) (parquet.Result, error) {
	if req.RequestedBy == "" {
		req.RequestedBy = "cli"
	}
	result, end, err := s.export(ctx, req, nil)
	if err != nil {
		return result, err
	}
	return result, end.err
}

// CheckExport holds an export against the database; see [parquet.Check].
func (s *Service) CheckExport(ctx context.Context, to bucket.Location) (parquet.Checked, error) {
	target, err := s.openExport(ctx, to)
	if err != nil {
		return parquet.Checked{}, err
	}
	return parquet.Check(ctx, parquet.Config{Pool: s.pool, Target: target, Logger: s.logger})
}

func (s *Service) openExport(ctx context.Context, to bucket.Location) (bucket.Target, error) {
	if to = cmp.Or(to, s.config.ExportTo); to.IsZero() {
		return nil, ErrNoExport
	}
	return s.config.Stores.Target(ctx, to)
}

// export makes an export and notes its end. The error is of what kept it from being
// noted.
func (s *Service) export(ctx context.Context, req ExportRequest, job *river.Job[exportArgs]) (result parquet.Result, end outcome, err error) {
	started := s.config.Clock.Now()
	target, err := s.openExport(ctx, req.To)
	if errors.Is(err, ErrNoExport) {
		return result, outcome{}, err
	}
	if err == nil {
		config := parquet.Config{Pool: s.pool, Target: target, Replace: req.Replace, Progress: req.Progress, Logger: s.logger}
		result, err = parquet.Export(ctx, config)
	}
	err = bucket.Redact(err)
	if errors.Is(err, parquet.ErrBusy) {
		return result, outcome{ledger.StatusRetrying, err}, nil // the other one notes itself
	}
	end = classifyExport(ctx, err)
	return result, end, s.recordExport(ctx, req, job, cmp.Or(req.To, s.config.ExportTo).Clean().String(), started, result, end)
}

// classifyExport decides what an error means: what the data, another export or the settings
// are to blame for stays as it is, and anything else may be gone the next time, as a
// store that is away.
func classifyExport(ctx context.Context, err error) outcome {
	cause := context.Cause(ctx)
	switch {
	case err == nil:
		return outcome{status: ledger.StatusSucceeded}
	case errors.Is(cause, river.ErrJobCancelledRemotely):
		return outcome{ledger.StatusFailed, errCancelled}
	case errors.Is(cause, context.DeadlineExceeded):
		return outcome{ledger.StatusRetrying, errTimeout}
	case cause != nil:
		return outcome{ledger.StatusInterrupted, fmt.Errorf("interrupted: %w", cause)}
	case parquet.Permanent(err), bucket.Permanent(err):
		return outcome{ledger.StatusFailed, err}
	}
	return outcome{ledger.StatusRetrying, err}
}

func (s *Service) recordExport(
	ctx context.Context, req ExportRequest, job *river.Job[exportArgs], target string, started time.Time, r parquet.Result, end outcome,
) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	e := ledger.Export{
		RequestedBy: req.RequestedBy, Target: postgres.Text(target), Status: end.status, Error: end.text(),
		Epoch: r.Epoch, LastFileID: r.LastFileID, Files: r.Files, Written: r.Written, Removed: r.Removed, Rows: r.Rows,
		TotalAmount: cmp.Or(r.TotalAmount, "0"), Bytes: r.Bytes, BytesWritten: r.BytesWritten,
		Worker: s.config.Worker, CodeVersion: s.config.CodeVersion, StartedAt: started,
	}
	if job != nil {
		e.RunID, e.JobID = job.Args.RunID, job.ID
	}
	return s.ledger.AddExport(ctx, e)
}

// exportArgs is River's job after a run.
type exportArgs struct {
	RunID       int64  `json:"run_id"`
	LogicalDate string `json:"logical_date"`
}

// Kind names the job in River's table.
func (exportArgs) Kind() string { return exportKind }

// InsertOpts are the same for every job.
func (exportArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: exportQueue, MaxAttempts: jobAttempts}
}

// insertExport gives River the export of what a run has changed, in the transaction that
// notes the run's end, so that neither is without the other.
func (s *Service) insertExport(ctx context.Context, tx pgx.Tx, a *attempt, end outcome) error {
	if s.config.ExportTo.IsZero() || end.status != ledger.StatusSucceeded && end.status != ledger.StatusFailed {
		return nil
	}
	if _, err := s.river.InsertTx(ctx, tx, exportArgs{RunID: a.runID, LogicalDate: a.date.String()}, nil); err != nil {
		return fmt.Errorf("insert the export after run %d: %w", a.runID, err)
	}
	return nil
}

// requeueExport gives River an export that is due and that nobody is at: its worker was
// killed, its job was deleted or has used up its attempts, or exports were switched on
// since the last run.
func (s *Service) requeueExport(ctx context.Context, tx pgx.Tx) error {
	if s.config.ExportTo.IsZero() {
		return nil
	}
	a := attempt{}
	err := tx.QueryRow(ctx, s.sql.Get("orphaned_export"), s.config.ExportTo.Clean().String(), int64(parquet.LockClass), s.orphanedAfter.Seconds(), exportKind).Scan(&a.runID, &a.date)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for an orphaned export: %w", err)
	}
	s.logger.WarnContext(ctx, "orphaned export requeued", slog.Int64("run", a.runID))
	return s.insertExport(ctx, tx, &a, outcome{status: ledger.StatusSucceeded})
}

// exportWorker exports after a run.
type exportWorker struct{ retried[exportArgs] }

// Work exports, unless a later run's export is waiting as well, which does the same and
// more.
func (w *exportWorker) Work(ctx context.Context, job *river.Job[exportArgs]) error {
	s := w.service
	logger := s.logger
	if above, ok := riverlog.LoggerSafely(ctx); ok {
		logger = slog.New(slog.NewMultiHandler(logger.Handler(), above.Handler()))
	}
	later, err := s.laterExport(ctx, job.ID)
	if err != nil {
		return err
	}
	if later != 0 {
		logger.InfoContext(ctx, "export left to a later one", slog.Int64("run", job.Args.RunID), slog.Int64("job", later))
		return nil
	}
	result, end, err := s.export(ctx, ExportRequest{RequestedBy: "schedule"}, job)
	switch {
	case errors.Is(end.err, parquet.ErrBusy):
		return river.JobSnooze(busySnooze)
	case errors.Is(err, ErrNoExport): // switched off since
		return river.JobCancel(err)
	case err != nil && end.err == nil:
		return err
	}
	level := slog.LevelInfo
	if end.err != nil {
		level = slog.LevelWarn
	}
	logger.LogAttrs(ctx, level, "export ended", slog.Int64("run", job.Args.RunID), slog.String("status", end.status),
		slog.String("target", result.Target), slog.Int("written", result.Written), slog.Any("error", end.err))
	if err := river.RecordOutput(ctx, result); err != nil {
		logger.WarnContext(ctx, "output for River UI", slog.Any("error", err))
	}
	return end.forRiver()
}

// laterExport is a job that was inserted after this one and is not at work yet, or 0.
func (s *Service) laterExport(ctx context.Context, id int64) (int64, error) {
	waiting := []rivertype.JobState{rivertype.JobStateAvailable, rivertype.JobStateRetryable, rivertype.JobStateScheduled}
	params := river.NewJobListParams().Kinds(exportKind).States(waiting...).OrderBy(river.JobListOrderByID, river.SortOrderDesc).First(1)
	list, err := s.river.JobList(ctx, params)
	if err != nil {
		return 0, fmt.Errorf("look for a later export: %w", err)
	}
	if len(list.Jobs) > 0 && list.Jobs[0].ID > id {
		return list.Jobs[0].ID, nil
	}
	return 0, nil
}
