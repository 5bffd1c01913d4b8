package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/parquet"
)

const (
	exportQueue = "export"
	exportKind  = "export"
)

// ExportRequest asks for an export in the foreground.
type ExportRequest struct {
	To          bucket.Location         // as Config.ExportTo, which the zero value means
	Replace     bool                    // every file, and another database's export
	RequestedBy string                  // for the ledger; "" means "cli"
	Progress    func(pipeline.Progress) // may be nil
}

// Export brings a target up to date with the database and records the outcome.
func (s *Service) Export(ctx context.Context, req ExportRequest) (parquet.Result, error) {
	result, out, err := s.export(ctx, req, exportArgs{}, 0)
	return result, cmp.Or(err, out.err)
}

// CheckExport compares an export with the database; see [parquet.Check].
func (s *Service) CheckExport(ctx context.Context, to bucket.Location) (parquet.Checked, error) {
	target, err := s.openExport(ctx, to)
	if err != nil {
		return parquet.Checked{}, err
	}
	return parquet.Check(ctx, parquet.Config{Pool: s.pool, Target: target, Logger: s.logger})
}

func (s *Service) openExport(ctx context.Context, to bucket.Location) (bucket.Target, error) {
	if to = cmp.Or(to, s.config.ExportTo); to.IsZero() {
		return nil, ledger.ErrNoExport
	}
	return s.config.Stores.Target(ctx, to)
}

// export exports and records the outcome. The error is of what prevented the recording.
func (s *Service) export(ctx context.Context, req ExportRequest, job exportArgs, jobID int64) (parquet.Result, outcome, error) {
	started := s.config.Clock.Now()
	var r parquet.Result
	target, err := s.openExport(ctx, req.To)
	if errors.Is(err, ledger.ErrNoExport) {
		return r, outcome{}, err
	}
	if err == nil {
		r, err = parquet.Export(ctx, parquet.Config{
			Pool: s.pool, Target: target, Replace: req.Replace, Progress: req.Progress, Logger: s.logger,
		})
	}
	err = bucket.Redact(err)
	if errors.Is(err, parquet.ErrBusy) {
		return r, outcome{ledger.StatusRetrying, err}, nil // the other one records its own
	}
	out := classifyExport(ctx, err)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	return r, out, s.ledger.AddExport(ctx, ledger.Export{
		RunID: job.RunID, JobID: jobID, RequestedBy: cmp.Or(req.RequestedBy, "cli"),
		Target: postgres.Text(cmp.Or(req.To, s.config.ExportTo).Clean().String()), Status: out.status, Error: out.text(),
		Epoch: r.Epoch, LastFileID: r.LastFileID, Files: r.Files, Written: r.Written, Removed: r.Removed, Rows: r.Rows,
		TotalAmount: cmp.Or(r.TotalAmount, "0"), Bytes: r.Bytes, BytesWritten: r.BytesWritten,
		Worker: s.config.Worker, CodeVersion: s.config.CodeVersion, StartedAt: started,
	})
}

// classifyExport decides once what an error means: an error of the data, the settings or
// another database's export is permanent, any other may be gone with the next attempt.
func classifyExport(ctx context.Context, err error) outcome {
	switch stopped := stopCause(ctx); {
	case err == nil:
		return outcome{status: ledger.StatusSucceeded}
	case errors.Is(stopped.err, errTimeout):
		return outcome{ledger.StatusRetrying, errTimeout}
	case stopped.err != nil:
		return stopped
	case parquet.Permanent(err), bucket.Permanent(err):
		return outcome{ledger.StatusFailed, err}
	}
	return outcome{ledger.StatusRetrying, err}
}

// exportArgs are the arguments of the River job after a run.
type exportArgs runArgs

func (exportArgs) Kind() string { return exportKind }

func (exportArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: exportQueue, MaxAttempts: jobAttempts}
}

// insertExport gives River the export after a run, where runs are exported.
func (s *Service) insertExport(ctx context.Context, tx pgx.Tx, runID int64, date civil.Date) error {
	if s.config.ExportTo.IsZero() {
		return nil
	}
	if _, err := s.river.InsertTx(ctx, tx, exportArgs{RunID: runID, LogicalDate: date.String()}, nil); err != nil {
		return fmt.Errorf("insert the export after run %d: %w", runID, err)
	}
	return nil
}

// requeueExport gives River an orphaned export: its worker crashed, its job was deleted or
// has used its attempts, or exports were configured after the last run.
func (s *Service) requeueExport(ctx context.Context, tx pgx.Tx) error {
	if s.config.ExportTo.IsZero() {
		return nil
	}
	var runID int64
	var date civil.Date
	err := tx.QueryRow(ctx, s.sql.Get("orphaned_export"), s.config.ExportTo.Clean().String(), int64(parquet.LockClass),
		s.orphanedAfter.Seconds(), exportKind).Scan(&runID, &date)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for an orphaned export: %w", err)
	}
	s.logger.WarnContext(ctx, "orphaned export requeued", "run", runID)
	return s.insertExport(ctx, tx, runID, date)
}

type exportWorker struct{ retried[exportArgs] }

// Work exports, unless the export of a later run is queued, which includes this one.
func (w *exportWorker) Work(ctx context.Context, job *river.Job[exportArgs]) error {
	s := w.service
	logger := withRiverLog(ctx, s.logger).With("run", job.Args.RunID)
	later, err := s.laterExport(ctx, job.ID)
	if err != nil {
		return err
	}
	if later != 0 {
		logger.InfoContext(ctx, "export left to a later job", "job", later)
		return nil
	}
	result, out, err := s.export(ctx, ExportRequest{RequestedBy: "schedule"}, job.Args, job.ID)
	switch {
	case errors.Is(out.err, parquet.ErrBusy):
		return river.JobSnooze(busySnooze)
	case errors.Is(err, ledger.ErrNoExport): // no longer configured
		return river.JobCancel(err)
	case err != nil && out.err == nil:
		return err
	}
	out.log(ctx, logger, "export ended", "target", result.Target, "written", result.Written)
	recordOutput(ctx, logger, result)
	return out.jobError()
}

// laterExport is the newest job that was inserted after this one and has not started, or 0.
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
