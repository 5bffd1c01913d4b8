package jobs

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/jobs/ledger"
)

// orphanedAfter is the age of a run's last change from which it may be orphaned. A job
// that River has just fetched acquires the run's lock meanwhile.
const orphanedAfter = 10 * time.Second

// runCrashes is how many attempts at a run may crash in a row, at whatever, before it fails. A file at
// which they do fails long before; see fileCrashes.
const runCrashes = 100

// Reconcile requeues the orphaned runs of dates: those that are not finished and have
// neither a worker nor a job that River will work on. Their worker crashed, or their job
// was deleted or has used its attempts. After a crash River keeps the job as running for
// hours, so the ledger and the run's lock decide, not the job. One process at a time does
// this, so a run gets one job. It returns the requeued runs.
//
// An orphaned export, retirement or removal of old records is requeued as well, and the verification that is due
// enqueued. A run whose job was cancelled through River is recorded as failed, and a manual run whose
// process crashed as lost.
func (s *Service) Reconcile(ctx context.Context) (requeued []int64, err error) {
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		var locked bool
		err := tx.QueryRow(ctx, "SELECT pg_try_advisory_xact_lock($1::int4, 0)", int32(reconcileLockClass)).Scan(&locked)
		if err != nil || !locked {
			return err
		}
		if _, err := tx.Exec(ctx, s.sql.Get("lost_manual_runs"), int64(runLockClass), s.orphanedAfter.Seconds()); err != nil {
			return fmt.Errorf("manual runs: %w", err)
		}
		if requeued, err = s.requeue(ctx, tx); err != nil {
			return err
		}
		if err := s.requeueExport(ctx, tx); err != nil {
			return err
		}
		if err := s.requeueExpire(ctx, tx); err != nil {
			return err
		}
		if err := s.requeueRetirement(ctx, tx); err != nil {
			return err
		}
		return s.enqueueVerification(ctx, tx)
	})
	if err != nil {
		return nil, fmt.Errorf("requeue orphaned runs: %w", err)
	}
	for _, id := range requeued {
		s.logger.WarnContext(ctx, "orphaned run requeued", "run", id)
	}
	return requeued, nil
}

type orphan struct { // its fields are in the order of the statement's columns
	ID      int64
	Date    civil.Date
	Attempt int
	Status  string
	Crashes int
}

func (s *Service) requeue(ctx context.Context, tx pgx.Tx) (requeued []int64, err error) {
	// CollectRows returns the error of Query.
	rows, _ := tx.Query(ctx, s.sql.Get("orphaned_runs"), int64(runLockClass), s.orphanedAfter.Seconds(), jobKind)
	orphans, err := pgx.CollectRows(rows, pgx.RowToStructByPos[orphan])
	if err != nil {
		return nil, err
	}
	for _, o := range orphans {
		var cancelled bool
		err := tx.QueryRow(ctx, s.sql.Get("cancelled_by_operator"), jobKind, o.ID).Scan(&cancelled)
		switch {
		case err != nil && !errors.Is(err, pgx.ErrNoRows): // no row: the job was deleted, or never inserted
			return nil, err
		case cancelled:
			err = s.recordCancelled(ctx, tx, o)
		case o.Crashes >= runCrashes:
			err = s.endOrphan(ctx, tx, o, fmt.Errorf("the process crashed in %d attempts; the next run tries the files again", o.Crashes))
		default:
			_, err = s.insertJob(ctx, tx, runArgs{RunID: o.ID, LogicalDate: o.Date.String()})
			requeued = append(requeued, o.ID)
		}
		if err != nil {
			return nil, err
		}
	}
	return requeued, nil
}

// endOrphan records that a run failed, with an attempt of its own, since an outcome belongs to one.
func (s *Service) endOrphan(ctx context.Context, tx pgx.Tx, o orphan, reason error) error {
	if o.Status == ledger.StatusRunning {
		if _, err := tx.Exec(ctx, s.sql.Get("record_lost"), o.ID, o.Attempt); err != nil {
			return err
		}
	}
	number := o.Attempt + 1
	if _, err := tx.Exec(ctx, s.sql.Get("start_attempt"), o.ID, number, nil, s.config.Worker, s.config.CodeVersion); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, s.sql.Get("end_attempt"), o.ID, number, ledger.StatusFailed, reason.Error(), false); err != nil {
		return err
	}
	s.logger.WarnContext(ctx, "orphaned run ended", "run", o.ID, "error", reason)
	return nil
}

// recordCancelled ends a run that an operator cancelled before a worker had it.
func (s *Service) recordCancelled(ctx context.Context, tx pgx.Tx, o orphan) error {
	if err := s.endOrphan(ctx, tx, o, errCancelled); err != nil {
		return err
	}
	return ledger.Record(ctx, tx, ledger.Event{
		Actor: "operator", Action: ledger.ActionRunCancelled, Subject: strconv.FormatInt(o.ID, 10), Origin: s.config.Worker,
		Detail: map[string]any{"logical_date": o.Date},
	})
}
