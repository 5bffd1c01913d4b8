package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/jobs/ledger"
)

// maxClockAhead is how far this machine's clock may be ahead of the database's. Machines
// that keep time differ by less than a second.
const maxClockAhead = 5 * time.Minute

var (
	// ErrClockAhead reports that this machine's clock is ahead of the database's: nothing is
	// decided by it.
	ErrClockAhead = errors.New("this machine's clock is ahead of the database's")
	// ErrScheduleAhead reports that the schedule is at a date that has not ended: nothing runs
	// before that date.
	ErrScheduleAhead = errors.New("the schedule is at a date that has not ended")
	// ErrScheduleLate reports that the schedule has not decided a date that ended.
	ErrScheduleLate = errors.New("no worker keeps the schedule")
)

// watermark is the row of the schedule, with both clocks at the time of reading.
type watermark struct {
	started           bool
	date              civil.Date     // the last that is decided
	zone              *time.Location // in which it was decided
	process, database time.Time
}

// readSchedule reads the row and the database's clock. The process's was read before, so
// that the time that the statement takes does not count as ahead.
func (s *Service) readSchedule(ctx context.Context, now time.Time) (watermark, error) {
	w := watermark{process: now, zone: s.config.TimeZone}
	var date *civil.Date
	var zone *string
	if err := s.pool.QueryRow(ctx, s.sql.Get("read_schedule")).Scan(&w.database, &date, &zone); err != nil {
		return w, fmt.Errorf("read the schedule: %w", err)
	}
	w.database = s.databaseTime(w.database)
	if date == nil {
		return w, nil
	}
	w.started, w.date = true, *date
	if z, err := time.LoadLocation(*zone); err == nil { // else set by a machine that knows more zones
		w.zone = z
	}
	return w, nil
}

// skew is how far the process's clock is ahead of the database's.
func (w watermark) skew() time.Duration { return w.process.Sub(w.database) }

// ended is the last date that ended by the database's clock.
func (w watermark) ended() civil.Date { return civil.Of(w.database.In(w.zone)) - 1 }

func (w watermark) checkClock() error {
	if w.skew() <= maxClockAhead {
		return nil
	}
	return fmt.Errorf("%w: it says %s, the database's says %s; set it right",
		ErrClockAhead, w.process.UTC().Format(time.RFC3339), w.database.UTC().Format(time.RFC3339))
}

// check names what keeps the schedule from deciding.
func (w watermark) check() error {
	if err := w.checkClock(); err != nil || !w.started {
		return err
	}
	atMost := civil.Of(w.database.Add(maxClockAhead).In(w.zone)) - 1
	if w.date <= atMost {
		return nil
	}
	return fmt.Errorf(`%w: it is at %s, and the last that ended is %s; set it with tally schedule --set %s --reason "the clock was ahead"`,
		ErrScheduleAhead, w.date, w.ended(), w.ended())
}

// lastEndedNow is the last logical date that ended, and an error while the clock is ahead.
func (s *Service) lastEndedNow(ctx context.Context) (civil.Date, error) {
	now := s.config.Clock.Now()
	w, err := s.readSchedule(ctx, now)
	if err == nil {
		err = w.checkClock()
	}
	return s.lastEnded(now), err
}

// Stats are the figures of the ledger and of the schedule.
func (s *Service) Stats(ctx context.Context) (ledger.Stats, error) {
	stats, err := s.ledger.Stats(ctx)
	if err != nil {
		return stats, err
	}
	w, err := s.readSchedule(ctx, s.config.Clock.Now())
	if err != nil {
		return stats, err
	}
	stats.Schedule = &ledger.ScheduleStats{ClockSkew: w.skew()}
	if w.started {
		stats.Schedule.Undecided = int(w.ended() - w.date)
	}
	return stats, nil
}

// logClock logs a problem of the clock or the watermark when it begins and when it is over,
// and not at every tick in between. It returns the problem that is logged.
func (s *Service) logClock(ctx context.Context, logged, problem error) error {
	switch {
	case problem == nil && logged != nil:
		s.logger.InfoContext(ctx, "the schedule decides again", "after", logged)
	case problem != nil && (logged == nil || errors.Is(logged, ErrClockAhead) != errors.Is(problem, ErrClockAhead)):
		s.logger.ErrorContext(ctx, "the schedule decides nothing", "error", problem)
	}
	return problem
}

// CheckSchedule reports whether a worker keeps the schedule: the last date that ended is
// decided, or ended within the grace, and no clock is wrong. The error is [ErrClockAhead],
// [ErrScheduleAhead], [ErrScheduleLate], or that of the database.
func (s *Service) CheckSchedule(ctx context.Context, grace time.Duration) error {
	w, err := s.readSchedule(ctx, s.config.Clock.Now())
	if err != nil {
		return err
	}
	return s.checkSchedule(w, grace)
}

func (s *Service) checkSchedule(w watermark, grace time.Duration) error {
	last := s.lastEnded(w.process.Add(-grace))
	switch err := w.check(); {
	case err != nil:
		return err
	case !w.started:
		return fmt.Errorf("the schedule has not started: %w", ErrScheduleLate)
	case w.date < last:
		return fmt.Errorf("the schedule is at %s, and %s has ended: %w", w.date, last, ErrScheduleLate)
	}
	return nil
}
