package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/jobs/ledger"
)

const (
	shownRuns = 100             // unfinished ones in a Schedule
	lateAfter = 5 * time.Minute // a run that is due and has not started by then is late
)

// Schedule is what is due and when.
type Schedule struct {
	TimeZone        string         `json:"time_zone"`
	LastDate        *civil.Date    `json:"last_date"` // the last that is decided; nil before the first start
	NextDate        civil.Date     `json:"next_date"` // decided at the next midnight
	NextMidnight    time.Time      `json:"next_midnight"`
	NextMidnightUTC time.Time      `json:"next_midnight_utc"`
	CatchUp         CatchUp        `json:"catch_up"`
	CatchUpLimit    int            `json:"catch_up_limit"` // of the policy all
	Clock           time.Time      `json:"clock"`
	DatabaseClock   time.Time      `json:"database_clock"`
	SkewSeconds     float64        `json:"skew_seconds"` // of this machine's clock, ahead of the database's
	Problem         string         `json:"problem,omitempty"`
	Unfinished      int            `json:"unfinished"` // runs
	Runs            []ScheduledRun `json:"runs"`       // the first of them by date
}

// ScheduledRun is a run of a date that is not finished.
type ScheduledRun struct {
	ID        int64                 `json:"id"`
	Date      civil.Date            `json:"logical_date"`
	Status    string                `json:"status"`
	Attempt   int                   `json:"attempt"`
	CreatedAt time.Time             `json:"created_at"`
	Error     string                `json:"error,omitempty"`
	Late      bool                  `json:"late"`
	Owes      []string              `json:"unread_sources"`
	WaitsFor  map[string]civil.Date `json:"waits_for,omitempty"` // the run of an earlier date, by source
}

// Schedule reads what is due and when.
func (s *Service) Schedule(ctx context.Context) (Schedule, error) {
	now := s.config.Clock.Now()
	w, err := s.readSchedule(ctx, now)
	if err != nil {
		return Schedule{}, err
	}
	next := civil.Of(now.In(s.config.TimeZone))
	midnight := (next + 1).Start(s.config.TimeZone)
	made := Schedule{
		TimeZone: s.config.TimeZone.String(), NextDate: next, NextMidnight: midnight.In(s.config.TimeZone), NextMidnightUTC: midnight.UTC(),
		CatchUp: s.config.CatchUp, CatchUpLimit: s.config.CatchUpLimit,
		Clock: now.UTC(), DatabaseClock: w.database.UTC(), SkewSeconds: w.skew().Seconds(),
	}
	if w.started {
		made.LastDate = &w.date
	}
	if err := s.checkSchedule(w, lateAfter); err != nil {
		made.Problem = err.Error()
	}
	made.Runs, made.Unfinished, err = s.unfinishedRuns(ctx, w.database)
	return made, err
}

func (s *Service) unfinishedRuns(ctx context.Context, now time.Time) (runs []ScheduledRun, total int, err error) {
	rows, _ := s.pool.Query(ctx, s.sql.Get("unfinished_runs"), sourceNames(s.config.Sources), shownRuns) // CollectRows returns its error
	runs, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (r ScheduledRun, err error) {
		err = row.Scan(&r.ID, &r.Date, &r.Status, &r.Attempt, &r.CreatedAt, &r.Error, &r.Owes, &total)
		r.Late = r.Status == ledger.StatusDue && now.Sub(r.CreatedAt) > lateAfter
		return r, err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("read the unfinished runs: %w", err)
	}
	first := map[string]civil.Date{} // that owes a source
	for i := range runs {
		runs[i].waitFor(first)
	}
	return runs, total, nil
}

// waitFor notes what the run waits for, and which later runs wait for it.
func (r *ScheduledRun) waitFor(first map[string]civil.Date) {
	for _, source := range r.Owes {
		earlier, ok := first[source]
		if !ok {
			first[source] = r.Date
			continue
		}
		if r.WaitsFor == nil {
			r.WaitsFor = map[string]civil.Date{}
		}
		r.WaitsFor[source] = earlier
	}
}

// SetSchedule makes date the last that is decided, so that the next tick decides the dates
// after it. A date that has a run gets no second one. It returns the date before, nil if
// there was none; the change is in the audit trail. The error is [ledger.ErrNotEnded] for
// a date that has not ended by this machine's clock and the database's.
func (s *Service) SetSchedule(ctx context.Context, date civil.Date, actor, reason string) (before *civil.Date, err error) {
	w, err := s.readSchedule(ctx, s.config.Clock.Now())
	if err != nil {
		return nil, err
	}
	last := min(s.lastEnded(w.process), s.lastEnded(w.database))
	if date > last {
		return nil, fmt.Errorf("set the schedule to %s (the last that ended is %s, in %s): %w", date, last, s.config.TimeZone, ledger.ErrNotEnded)
	}
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) (err error) {
		before, err = s.moveSchedule(ctx, tx, date, actor, reason)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("set the schedule to %s: %w", date, err)
	}
	return before, nil
}

func (s *Service) moveSchedule(ctx context.Context, tx pgx.Tx, date civil.Date, actor, reason string) (before *civil.Date, err error) {
	zone := s.config.TimeZone.String()
	var locked civil.Date
	switch err := tx.QueryRow(ctx, s.sql.Get("lock_schedule")).Scan(&locked); {
	case err == nil:
		before = &locked
	case !errors.Is(err, pgx.ErrNoRows):
		return nil, err
	}
	for _, statement := range []string{"start_schedule", "move_schedule"} {
		if _, err := tx.Exec(ctx, s.sql.Get(statement), date.String(), zone); err != nil {
			return nil, err
		}
	}
	return before, ledger.Record(ctx, tx, ledger.Event{
		Actor: actor, Action: ledger.ActionScheduleSet, Subject: date.String(), Origin: s.config.Worker,
		Detail: map[string]any{"from": before, "to": date, "reason": reason},
	})
}
