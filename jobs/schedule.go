package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/jobs/ledger"
)

const (
	tickEvery         = 20 * time.Second // the longest that a missed midnight or an orphaned run waits
	tickAfterError    = 2 * time.Second
	tickTimeout       = 15 * time.Second      // a database that does not answer must not stop the schedule
	minTick           = 10 * time.Millisecond // a clock that is a little early must not spin
	noneGrace         = time.Hour             // within which the policy none notices a midnight that is not missed
	skippedDatesNamed = 100                   // in one audit event
)

// Clock is the clock of the schedule. Tests have their own; timeouts, River and the run
// locks use real time.
type Clock interface {
	Now() time.Time
	// After sends once d has passed.
	After(d time.Duration) <-chan time.Time
}

type wallClock struct{}

func (wallClock) Now() time.Time                         { return time.Now() }
func (wallClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// CatchUp is the policy for missed midnights.
type CatchUp string

// The policies.
const (
	CatchUpAll    CatchUp = "all"    // runs each missed date, the newest Config.CatchUpLimit of them
	CatchUpLatest CatchUp = "latest" // runs the last missed date only
	CatchUpNone   CatchUp = "none"   // runs none; a midnight noticed less than an hour late is not missed
)

// Check reports whether the policy is one of these, or "", which is all.
func (c CatchUp) Check() error {
	if slices.Contains([]CatchUp{"", CatchUpAll, CatchUpLatest, CatchUpNone}, c) {
		return nil
	}
	return fmt.Errorf("is %q, want %q, %q or %q", string(c), CatchUpAll, CatchUpLatest, CatchUpNone)
}

// EnqueueDue decides every logical date that ended since the last decision: the date gets
// a run and a River job, or the policy skips it, which is written to the audit trail. All
// of that and the watermark commit together, so after any error nothing has happened and
// the next call decides the same dates. Any number of processes may call it at once. It
// returns the runs that it created.
//
// The first call ever starts at the last date that ended: nothing is missed before the
// first start. A clock or time zone that is set back never moves the watermark back. While
// the clock is ahead of the database's, or the watermark of the date, nothing is decided,
// and the error is [ErrClockAhead] or [ErrScheduleAhead].
func (s *Service) EnqueueDue(ctx context.Context, now time.Time) ([]ledger.Run, error) {
	last := s.lastEnded(now)
	w, err := s.readSchedule(ctx, now)
	if err == nil {
		err = w.check()
	}
	// Most ticks end here, without the watermark's lock.
	if err != nil || w.started && w.date >= last {
		return nil, err
	}
	var runs []ledger.Run
	var skipped []civil.Date
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) (err error) {
		runs, skipped, err = s.enqueueDue(ctx, tx, last, now)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("enqueue the dates that are due: %w", err)
	}
	if len(skipped) > 0 {
		s.logger.WarnContext(ctx, "logical dates skipped by the catch-up policy",
			"from", skipped[0].String(), "to", skipped[len(skipped)-1].String())
	}
	for _, r := range runs {
		s.logger.InfoContext(ctx, "run is due", "run", r.ID, "logical_date", r.LogicalDate.String())
	}
	return runs, nil
}

// lastEnded is the last logical date that ended, the day before now in the zone.
func (s *Service) lastEnded(now time.Time) civil.Date { return civil.Of(now.In(s.config.TimeZone)) - 1 }

func (s *Service) enqueueDue(
	ctx context.Context, tx pgx.Tx, last civil.Date, now time.Time,
) (runs []ledger.Run, skipped []civil.Date, err error) {
	zone := s.config.TimeZone.String()
	if _, err := tx.Exec(ctx, s.sql.Get("start_schedule"), last.String(), zone); err != nil {
		return nil, nil, fmt.Errorf("start the schedule: %w", err)
	}
	var decided civil.Date
	if err := tx.QueryRow(ctx, s.sql.Get("lock_schedule")).Scan(&decided); err != nil {
		return nil, nil, fmt.Errorf("lock the schedule: %w", err)
	}
	if decided >= last {
		return nil, nil, nil
	}
	due := s.due(decided, last, now)
	if skipped = datesBetween(decided+1, last-civil.Date(len(due))); len(skipped) > 0 {
		if err := s.recordSkipped(ctx, tx, skipped); err != nil {
			return nil, nil, err
		}
	}
	n := newRuns{kind: ledger.KindNightly, dates: due, requestedBy: "schedule", origin: s.config.Worker, enqueue: true}
	if runs, err = s.createRuns(ctx, tx, n); err != nil {
		return nil, nil, err
	}
	if _, err := tx.Exec(ctx, s.sql.Get("move_schedule"), last.String(), zone); err != nil {
		return nil, nil, fmt.Errorf("move the watermark: %w", err)
	}
	return runs, skipped, nil
}

// due are the dates after decided that get a run, oldest first. If there are any, they end
// with last.
func (s *Service) due(decided, last civil.Date, now time.Time) []civil.Date {
	count := int(last - decided)
	switch s.config.CatchUp {
	case CatchUpLatest:
		count = 1
	case CatchUpNone:
		count = 0
		if now.Sub((last + 1).Start(s.config.TimeZone)) < noneGrace {
			count = 1
		}
	case CatchUpAll:
		count = min(count, s.config.CatchUpLimit)
	}
	return datesBetween(last-civil.Date(count)+1, last)
}

func (s *Service) recordSkipped(ctx context.Context, tx pgx.Tx, dates []civil.Date) error {
	from, to := dates[0], dates[len(dates)-1]
	return ledger.Record(ctx, tx, ledger.Event{
		Actor: "schedule", Action: ledger.ActionRunSkipped, Subject: from.String() + "/" + to.String(), Origin: s.config.Worker,
		Detail: map[string]any{
			"policy": s.config.CatchUp, "limit": s.config.CatchUpLimit,
			"from": from, "to": to, "count": len(dates), "dates": dates[:min(len(dates), skippedDatesNamed)],
		},
	})
}

// runSchedule ticks until ctx ends: at once, at every midnight of the zone, and at least
// every tickEvery. A failed tick is logged and retried soon.
func (s *Service) runSchedule(ctx context.Context) {
	var logged error
	for {
		now := s.config.Clock.Now()
		midnight := (civil.Of(now.In(s.config.TimeZone)) + 1).Start(s.config.TimeZone)
		next := now.Add(max(minTick, min(tickEvery, midnight.Sub(now))))
		problem, err := s.tick(ctx, now)
		if err == nil {
			logged = s.logClock(ctx, logged, problem)
		} else if ctx.Err() == nil {
			s.logger.ErrorContext(ctx, "schedule tick failed", "error", err)
			next = now.Add(tickAfterError) // decides a midnight in between as well
		}
		select {
		case <-ctx.Done():
			return
		case <-s.config.Clock.After(max(minTick, next.Sub(s.config.Clock.Now()))):
		}
	}
}

// tick returns a problem of the clock or the watermark apart: it is not retried sooner.
func (s *Service) tick(ctx context.Context, now time.Time) (problem, err error) {
	ctx, cancel := context.WithTimeout(ctx, tickTimeout)
	defer cancel()
	_, err = s.EnqueueDue(ctx, now)
	if errors.Is(err, ErrClockAhead) || errors.Is(err, ErrScheduleAhead) {
		problem, err = err, nil
	}
	// A broken schedule must not keep orphaned runs from being requeued, nor alerts from opening.
	_, reconcileErr := s.Reconcile(ctx)
	return problem, errors.Join(err, reconcileErr, s.wake(ctx), s.UpdateAlerts(ctx, now))
}
