package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opentax/tally/internal/civil"

	"github.com/jackc/pgx/v5"
)

// Stats are the figures of the ledger and the queue that monitoring wants. Times
// are the database's, so that they do not depend on this machine's clock.
type Stats struct {
	// Runs, by kind and state.
	Runs []RunCount
	// Files and their rows, whole or failed.
	FilesLoaded, FilesFailed                    int64
	Read, Loaded, Duplicate, Conflict, Rejected int64
	// LastSuccess is when a run of a date last ended well, zero before the first; and
	// SinceLastSuccess how long that is ago.
	LastSuccess      time.Time
	SinceLastSuccess time.Duration
	// LastExport is when an export last ended well, zero before the first; and
	// SinceLastExport how long that is ago.
	LastExport      time.Time
	SinceLastExport time.Duration
	// Waiting are the runs of a date that are to be done and that nobody is doing, and
	// WaitingSince how long the first of them has waited; 0 where there is none.
	Waiting      int64
	WaitingSince time.Duration
	// Scheduled is the last date that the schedule has decided on; nil before it has
	// begun.
	Scheduled *civil.Date
}

// RunCount counts the runs of a kind in a state.
type RunCount struct {
	Kind, Status string
	Runs         int64
}

// Stats reads the figures. Its cost grows with the number of runs and files, not of
// rows.
func (l *Ledger) Stats(ctx context.Context) (s Stats, err error) {
	if err := l.runStats(ctx, &s); err != nil {
		return s, fmt.Errorf("read the figures of the ledger: %w", err)
	}
	return s, nil
}

func (l *Ledger) runStats(ctx context.Context, s *Stats) error {
	batch := &pgx.Batch{}
	batch.Queue(l.sql.Get("run_counts")).Query(func(rows pgx.Rows) (err error) {
		s.Runs, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (c RunCount, err error) {
			return c, row.Scan(&c.Kind, &c.Status, &c.Runs)
		})
		return err
	})
	batch.Queue(l.sql.Get("file_counts")).QueryRow(func(row pgx.Row) error {
		return row.Scan(&s.FilesLoaded, &s.FilesFailed, &s.Read, &s.Loaded, &s.Duplicate, &s.Conflict, &s.Rejected)
	})
	batch.Queue(l.sql.Get("last_success")).QueryRow(func(row pgx.Row) error {
		var at *time.Time
		var since *float64
		if err := row.Scan(&at, &since); err != nil || at == nil {
			return err
		}
		s.LastSuccess, s.SinceLastSuccess = at.UTC(), seconds(*since)
		return nil
	})
	batch.Queue(l.sql.Get("last_export")).QueryRow(func(row pgx.Row) error {
		var at time.Time
		var since float64
		err := row.Scan(&at, &since)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		s.LastExport, s.SinceLastExport = at.UTC(), seconds(since)
		return err
	})
	batch.Queue(l.sql.Get("waiting")).QueryRow(func(row pgx.Row) error {
		var since float64
		if err := row.Scan(&s.Waiting, &since); err != nil {
			return err
		}
		s.WaitingSince = seconds(since)
		return nil
	})
	batch.Queue(readSchedule).QueryRow(func(row pgx.Row) error {
		var date civil.Date
		err := row.Scan(&date)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		s.Scheduled = &date
		return err
	})
	return l.pool.SendBatch(ctx, batch).Close()
}

func seconds(s float64) time.Duration { return time.Duration(max(0, s) * float64(time.Second)) }

// ErrScheduleLate says that the schedule has not decided on a date that is over.
var ErrScheduleLate = errors.New("no worker keeps the schedule")

// CheckSchedule tells whether somebody keeps the schedule: the last date that ended
// has been decided on, or did so within the grace.
func (s *Service) CheckSchedule(ctx context.Context, grace time.Duration) error {
	last := s.lastEnded(s.config.Clock.Now().Add(-grace))
	decided, begun, err := s.decided(ctx)
	switch {
	case err != nil:
		return err
	case !begun:
		return fmt.Errorf("the schedule has not begun: %w", ErrScheduleLate)
	case decided < last:
		return fmt.Errorf("the schedule stands at %s, and %s is over: %w", decided, last, ErrScheduleLate)
	}
	return nil
}
