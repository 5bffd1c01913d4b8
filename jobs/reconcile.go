package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/jobs/ledger"

	"github.com/jackc/pgx/v5"
)

// orphanedAfter is how long nothing must have been heard of a run. A job that
// River has just fetched is on its way to the run's lock meanwhile.
const orphanedAfter = 10 * time.Second

// Reconcile gives a River job to every run of a date that is to be done and that
// nobody is doing: its worker was killed, its job was deleted or has used up its
// attempts. What a killed worker leaves behind is a job that River holds for
// running for hours to come, so the ledger and the run's lock decide and not the
// job. One process at a time does this, so a run gets one job. It returns the
// runs that got one.
//
// So is the export after a run, where runs are exported.
//
// A run whose job was cancelled through River is noted as failed instead; a run
// by hand whose process is gone is noted as lost.
func (s *Service) Reconcile(ctx context.Context) ([]int64, error) {
	var given []int64
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		taken, err := tryReconcileLock(ctx, tx)
		if err != nil || !taken {
			return err
		}
		if _, err := tx.Exec(ctx, s.sql.Get("lost_manual_runs"), int64(runLockClass), s.orphanedAfter.Seconds()); err != nil {
			return fmt.Errorf("runs by hand: %w", err)
		}
		if given, err = s.requeue(ctx, tx); err != nil {
			return err
		}
		return s.requeueExport(ctx, tx)
	})
	if err != nil {
		return nil, fmt.Errorf("requeue orphaned runs: %w", err)
	}
	for _, id := range given {
		s.logger.WarnContext(ctx, "orphaned run requeued", slog.Int64("run", id))
	}
	return given, nil
}

// orphan is a run that has neither a worker nor a job.
type orphan struct {
	id      int64
	date    civil.Date
	attempt int
	status  string
	hadJob  bool
}

func (s *Service) requeue(ctx context.Context, tx pgx.Tx) ([]int64, error) {
	rows, err := tx.Query(ctx, s.sql.Get("orphaned_runs"), int64(runLockClass), s.orphanedAfter.Seconds(), jobKind)
	if err != nil {
		return nil, err
	}
	runs, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (u orphan, err error) {
		return u, row.Scan(&u.id, &u.date, &u.attempt, &u.status, &u.hadJob)
	})
	if err != nil {
		return nil, err
	}
	var given []int64
	for _, u := range runs {
		cancelled, err := s.cancelledByOperator(ctx, tx, u)
		if err != nil {
			return nil, err
		}
		if cancelled {
			err = s.recordCancelled(ctx, tx, u)
		} else {
			_, err = s.insertJob(ctx, tx, u.id, u.date)
			given = append(given, u.id)
		}
		if err != nil {
			return nil, err
		}
	}
	return given, nil
}

func (s *Service) cancelledByOperator(ctx context.Context, tx pgx.Tx, u orphan) (cancelled bool, err error) {
	err = tx.QueryRow(ctx, s.sql.Get("cancelled_by_operator"), jobKind, u.id).Scan(&cancelled)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil // deleted, or never there
	}
	return cancelled, err
}

// recordCancelled ends a run that an operator cancelled before a worker came to
// it: with an attempt of its own, since an outcome belongs to one.
func (s *Service) recordCancelled(ctx context.Context, tx pgx.Tx, u orphan) error {
	if u.status == ledger.StatusRunning {
		if _, err := tx.Exec(ctx, s.sql.Get("record_lost"), u.id, u.attempt); err != nil {
			return err
		}
	}
	number := u.attempt + 1
	if _, err := tx.Exec(ctx, s.sql.Get("start_attempt"), u.id, number, nil, s.config.Worker, s.config.CodeVersion); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, s.sql.Get("end_attempt"), u.id, number, ledger.StatusFailed, errCancelled.Error()); err != nil {
		return err
	}
	s.logger.WarnContext(ctx, "run cancelled through River", slog.Int64("run", u.id))
	return ledger.Record(ctx, tx, ledger.Event{
		Actor: "operator", Action: ledger.ActionRunCancelled, Subject: strconv.FormatInt(u.id, 10), Origin: s.config.Worker,
		Detail: map[string]any{"logical_date": u.date},
	})
}
