package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/internal/reject"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/pipeline/load"
	"github.com/opentax/tally/pipeline/parquet"
	"github.com/opentax/tally/summaries"
)

const (
	retireQueue    = "retire"
	retireKind     = "retire"
	retireAttempts = 12 // some minutes; then the retirement has failed
)

// RequestRetirement enqueues a retirement of months. One is unfinished at a time: the same request
// returns it, not marked as created, and another one [ledger.ErrRetiring].
func (s *Service) RequestRetirement(ctx context.Context, r ledger.RetireRequest) (ledger.Retirement, error) {
	if r.Export && s.config.ExportTo.IsZero() {
		return ledger.Retirement{}, ledger.ErrNoExport
	}
	var id int64
	var created bool
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) (err error) {
		id, created, err = s.createRetirement(ctx, tx, r)
		return err
	})
	if err != nil {
		return ledger.Retirement{}, fmt.Errorf("request a retirement: %w", err)
	}
	retirement, err := s.ledger.Retirement(ctx, id)
	retirement.Created = created
	return retirement, err
}

func (s *Service) createRetirement(ctx context.Context, tx pgx.Tx, r ledger.RetireRequest) (id int64, created bool, err error) {
	if _, err := tx.Exec(ctx, s.sql.Get("lock_retirements")); err != nil {
		return 0, false, err
	}
	totals := "drop"
	if r.KeepTotals {
		totals = "keep"
	}
	var same bool
	wanted := []any{r.Before.First(), totals, r.Export, r.KeepTables, r.DryRun}
	err = tx.QueryRow(ctx, s.sql.Get("unfinished_retirement"), wanted...).Scan(&id, &same)
	switch {
	case err == nil && !same:
		return 0, false, ledger.ErrRetiring
	case !errors.Is(err, pgx.ErrNoRows):
		return id, false, err
	}
	reason, actor := postgres.Text(r.By.Reason), postgres.Text(r.By.Actor)
	if err := tx.QueryRow(ctx, s.sql.Get("insert_retirement"), append(wanted, reason, actor)...).Scan(&id); err != nil {
		return 0, false, err
	}
	if err := s.insertRetirement(ctx, tx, id, r.Export); err != nil {
		return 0, false, err
	}
	return id, true, ledger.Record(ctx, tx, ledger.Event{
		Actor: r.By.Actor, Action: ledger.ActionRetireRequest, Subject: strconv.FormatInt(id, 10), Origin: r.Origin,
		Detail: map[string]any{
			"before": r.Before.String(), "totals": totals, "export": r.Export, "keep_tables": r.KeepTables, "dry_run": r.DryRun, "reason": r.By.Reason,
		},
	})
}

type retireArgs struct {
	RetirementID int64 `json:"retirement_id"`
}

func (retireArgs) Kind() string { return retireKind }

func (retireArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: retireQueue, MaxAttempts: retireAttempts}
}

// insertRetirement gives River a retirement. One with an export is for the workers that have a target.
func (s *Service) insertRetirement(ctx context.Context, tx pgx.Tx, id int64, export bool) error {
	var opts *river.InsertOpts
	if export {
		opts = &river.InsertOpts{Queue: exportQueue}
	}
	if _, err := s.river.InsertTx(ctx, tx, retireArgs{id}, opts); err != nil {
		return fmt.Errorf("insert the job of retirement %d: %w", id, err)
	}
	return nil
}

// requeueRetirement gives River an orphaned retirement: its worker crashed, or its job was deleted or has
// used its attempts. One whose job was cancelled through River has failed.
func (s *Service) requeueRetirement(ctx context.Context, tx pgx.Tx) error {
	var id int64
	var export, cancelled bool
	err := tx.QueryRow(ctx, s.sql.Get("orphaned_retirement"), s.orphanedAfter.Seconds(), retireKind, int64(parquet.LockClass)).Scan(&id, &export, &cancelled)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	case err != nil:
		return fmt.Errorf("look for an orphaned retirement: %w", err)
	case cancelled:
		_, err = s.endRetirement(ctx, tx, id, outcome{ledger.StatusFailed, errCancelled}, nil)
		return err
	}
	s.logger.WarnContext(ctx, "orphaned retirement requeued", "retirement", id)
	return s.insertRetirement(ctx, tx, id, export)
}

// errRetirementEnded reports that a retirement got an outcome while a worker was at it.
var errRetirementEnded = errors.New("the retirement has an outcome already")

// endRetirement records the outcome, and reports whether it is the first.
func (s *Service) endRetirement(ctx context.Context, db ledger.Execer, id int64, out outcome, result *reject.RetireResult) (first bool, err error) {
	var months []byte
	if result != nil {
		if months, err = json.Marshal(result); err != nil {
			return false, err
		}
	}
	tag, err := db.Exec(ctx, s.sql.Get("end_retirement"), id, out.status, out.text(), string(months))
	if err != nil {
		return false, fmt.Errorf("record the outcome of retirement %d: %w", id, err)
	}
	return tag.RowsAffected() == 1, nil
}

type retireWorker struct{ retried[retireArgs] }

// Work retires months. The outcome commits with them, so that one that is tried again after a crash
// changes nothing more.
func (w *retireWorker) Work(ctx context.Context, job *river.Job[retireArgs]) error {
	s, id := w.service, job.Args.RetirementID
	logger := withRiverLog(ctx, s.logger).With("retirement", id)
	r, err := s.ledger.Retirement(ctx, id)
	switch {
	case errors.Is(err, ledger.ErrRetirementNotFound):
		return river.JobCancel(err)
	case err != nil:
		return err
	case !r.FinishedAt.IsZero():
		return nil
	}
	result, err := s.retire(ctx, r)
	switch {
	case errors.Is(err, parquet.ErrBusy):
		return river.JobSnooze(busySnooze)
	case errors.Is(err, errRetirementEnded):
		logger.WarnContext(ctx, "retirement ended meanwhile; nothing was changed")
		return river.JobCancel(err)
	}
	out := classifyAttempt(ctx, bucket.Redact(err), job.Attempt >= job.MaxAttempts || permanentRetirement(err))
	if err := s.recordRetirement(ctx, id, out, result); err != nil {
		return err
	}
	out.log(ctx, logger, "retirement ended", "months", len(result.Months), "rows", result.Rows)
	recordOutput(ctx, logger, result)
	return out.jobError()
}

// permanentRetirement reports errors that the next attempt has, too.
func permanentRetirement(err error) bool {
	for _, permanent := range []error{ledger.ErrNoExport, load.ErrMonthOpen, load.ErrStraddles, load.ErrByHand, summaries.ErrDrift} {
		if errors.Is(err, permanent) {
			return true
		}
	}
	return parquet.Permanent(err) || bucket.Permanent(err)
}

func (s *Service) retire(ctx context.Context, r ledger.Retirement) (reject.RetireResult, error) {
	before, err := civil.ParseMonth(r.Before)
	if err != nil {
		return reject.RetireResult{}, err
	}
	req := RetireRequest{By: audit.By{Actor: r.RequestedBy, Reason: r.Reason}, DryRun: r.DryRun}
	if r.Export {
		if req.ExportTo = s.config.ExportTo; req.ExportTo.IsZero() {
			return reject.RetireResult{}, ledger.ErrNoExport
		}
	}
	req.Retirement = load.Retirement{Before: before, KeepTotals: r.Totals == "keep", KeepTables: r.KeepTables}
	req.Record = func(ctx context.Context, tx pgx.Tx, result reject.RetireResult) error {
		first, err := s.endRetirement(ctx, tx, r.ID, outcome{status: ledger.StatusSucceeded}, &result)
		if err == nil && !first { // a second job of it was cancelled, or has failed
			err = errRetirementEnded
		}
		return err
	}
	return s.Retire(ctx, req)
}

// recordRetirement records an outcome that did not commit with the months: there are none, it was a dry
// run, or it failed.
func (s *Service) recordRetirement(ctx context.Context, id int64, out outcome, result reject.RetireResult) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	var err error
	switch out.status {
	case ledger.StatusSucceeded:
		_, err = s.endRetirement(ctx, s.pool, id, out, &result)
	case ledger.StatusFailed:
		_, err = s.endRetirement(ctx, s.pool, id, out, nil)
	}
	return err
}
