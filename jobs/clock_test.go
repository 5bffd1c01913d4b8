package jobs

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/pipeline"
)

// logged is a log that tests can read while others write.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) count(message string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), message)
}

// A machine whose clock is far ahead for a while decides nothing, says so once, and misses
// nothing when its clock is right again.
func TestClockAheadDecidesNothing(t *testing.T) {
	t.Parallel()
	pool, log := newPool(t), &logged{}
	right := newFakeClock(moment(t, "2024-05-10T12:00:00Z"))
	ahead := newFakeClock(moment(t, "2031-01-01T00:00:00Z"))
	s := newService(t, pool, Config{Clock: ahead, Loader: loads(), Logger: slog.New(slog.NewTextHandler(log, nil))})
	s.databaseTime = func(time.Time) time.Time { return right.Now() }
	_, err := s.EnqueueDue(t.Context(), right.Now())
	require.NoError(t, err)

	_, err = s.EnqueueDue(t.Context(), ahead.Now())
	require.ErrorIs(t, err, ErrClockAhead)
	err = s.CheckSchedule(t.Context(), time.Hour)
	require.ErrorIs(t, err, ErrClockAhead)
	assert.Contains(t, err.Error(), "it says 2031-01-01T00:00:00Z, the database's says 2024-05-10T12:00:00Z")
	stats, err := s.Stats(t.Context())
	require.NoError(t, err)
	assert.Equal(t, &ledger.ScheduleStats{ClockSkew: ahead.Now().Sub(right.Now())}, stats.Schedule)
	for _, request := range []func() error{
		func() error {
			_, err := s.Run(t.Context(), RunRequest{Paths: []bucket.Location{bucket.Path("a.csv")}})
			return err
		},
		func() error { _, err := s.Request(t.Context(), nil, "test", ""); return err },
		func() error {
			_, err := s.Enqueue(t.Context(), RunRequest{Paths: []bucket.Location{bucket.Path("a.csv")}, RequestedBy: "test"})
			return err
		},
		func() error {
			on := date(t, "2030-01-01")
			_, err := s.Request(t.Context(), &on, "test", "")
			return err
		},
	} {
		require.ErrorIs(t, request(), ErrClockAhead, "it would get a logical date of the future")
	}

	require.NoError(t, s.Start(t.Context()))
	for range 5 {
		ahead.advance(ahead.awaitSleeper(t))
	}
	ahead.awaitSleeper(t)
	assert.Equal(t, 1, log.count("the schedule decides nothing"))
	assert.Empty(t, dates(t, pool))
	assert.Equal(t, "2024-05-09", text(t, pool, "SELECT last_date::text FROM etl_schedule"))

	right.advance(24 * time.Hour)
	ahead.mu.Lock()
	ahead.now, ahead.sleepers[0].until = right.Now().Add(maxClockAhead-tickEvery), right.Now().Add(maxClockAhead)
	ahead.mu.Unlock()
	ahead.advance(tickEvery)
	require.Eventually(t, func() bool { return dates(t, pool) == "05-10" }, testdb.Patience, 10*time.Millisecond)
	require.Eventually(t, func() bool { return log.count("the schedule decides again") == 1 }, testdb.Patience, 10*time.Millisecond)
}

// Both clocks were ahead when the schedule decided: it says how it is set back, and a date
// that has a run gets no second one.
func TestScheduleIsSetBack(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	clock := newFakeClock(moment(t, "2024-05-10T12:00:00Z"))
	s := newService(t, pool, Config{Clock: clock, TimeZone: zone(t, "Europe/Berlin"), CatchUp: CatchUpAll})
	s.databaseTime = func(time.Time) time.Time { return clock.Now() }
	schedule, err := s.Schedule(ctx)
	require.NoError(t, err)
	assert.Nil(t, schedule.LastDate)
	assert.Contains(t, schedule.Problem, "has not started")
	for _, now := range []string{"2024-05-09T12:00:00Z", "2024-05-11T12:00:00Z"} {
		clock.mu.Lock()
		clock.now = moment(t, now)
		clock.mu.Unlock()
		_, err := s.EnqueueDue(ctx, clock.Now())
		require.NoError(t, err)
	}
	require.Equal(t, "05-09 05-10", dates(t, pool))
	execute(t, pool, "UPDATE etl_schedule SET last_date = '2031-01-01'")
	_, err = s.EnqueueDue(ctx, clock.Now())
	require.ErrorIs(t, err, ErrScheduleAhead)
	err = s.CheckSchedule(ctx, time.Hour)
	require.ErrorIs(t, err, ErrScheduleAhead)
	assert.Contains(t, err.Error(), "tally schedule --set 2024-05-10 --reason")
	stats, err := s.Stats(ctx)
	require.NoError(t, err)
	assert.Negative(t, stats.Schedule.Undecided)

	for _, tooLate := range []string{"2024-05-11", "2031-01-01"} {
		_, err = s.SetSchedule(ctx, date(t, tooLate), "anna", "a try")
		require.ErrorIs(t, err, ledger.ErrNotEnded)
	}
	before, err := s.SetSchedule(ctx, date(t, "2024-05-07"), "anna", "the clock was ahead")
	require.NoError(t, err)
	assert.Equal(t, date(t, "2031-01-01"), *before)
	assert.Equal(t, "anna 2024-05-07 2031-01-01 the clock was ahead", text(t, pool,
		"SELECT concat_ws(' ', actor, subject, detail ->> 'from', detail ->> 'reason') FROM audit_events WHERE action = 'schedule.set'"))
	runs, err := s.EnqueueDue(ctx, clock.Now())
	require.NoError(t, err)
	require.Len(t, runs, 1, "two of three have a run")
	assert.Equal(t, "05-08 05-09 05-10", dates(t, pool))
	assert.Equal(t, 3, count(t, pool, "SELECT count(*) FROM river_job"))
	require.NoError(t, s.CheckSchedule(ctx, time.Hour))
}

func TestSchedule(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	clock := newFakeClock(moment(t, "2024-03-30T23:30:00Z"))
	s := newService(t, pool, Config{Clock: clock, TimeZone: zone(t, "Europe/Berlin"), Sources: []pipeline.Source{newSource(t)}})
	s.databaseTime = func(time.Time) time.Time { return clock.Now().Add(2 * time.Second) }
	_, err := s.SetSchedule(ctx, date(t, "2024-03-28"), "anna", "begin with March")
	require.NoError(t, err)
	_, err = s.EnqueueDue(ctx, clock.Now())
	require.NoError(t, err)
	execute(t, pool, "ALTER TABLE etl_runs DISABLE TRIGGER append_only")
	execute(t, pool, "UPDATE etl_runs SET created_at = $1", clock.Now().Add(-time.Hour))
	schedule, err := s.Schedule(ctx)
	require.NoError(t, err)
	assert.Equal(t, date(t, "2024-03-30"), *schedule.LastDate)
	assert.Equal(t, date(t, "2024-03-31"), schedule.NextDate)
	assert.Equal(t, "2024-04-01T00:00:00+02:00", schedule.NextMidnight.Format(time.RFC3339))
	assert.Equal(t, "2024-03-31T22:00:00Z", schedule.NextMidnightUTC.Format(time.RFC3339))
	assert.InDelta(t, -2, schedule.SkewSeconds, 0)
	assert.Empty(t, schedule.Problem)
	assert.Equal(t, 2, schedule.Unfinished)
	require.Len(t, schedule.Runs, 2)
	first, second := schedule.Runs[0], schedule.Runs[1]
	assert.Equal(t, ledger.StatusDue, first.Status)
	assert.True(t, first.Late)
	assert.Nil(t, first.WaitsFor)
	assert.Equal(t, map[string]civil.Date{"inbox": first.Date}, second.WaitsFor)
}

// A zone to the west, where the day has not ended, is no clock that was ahead.
func TestZoneToTheWestIsNotAhead(t *testing.T) {
	t.Parallel()
	pool := newPool(t)
	clock := newFakeClock(moment(t, "2024-05-10T10:30:00Z"))
	databaseTime := func(time.Time) time.Time { return clock.Now() }
	east := newService(t, pool, Config{Clock: clock, TimeZone: zone(t, "Pacific/Kiritimati")})
	west := newService(t, pool, Config{Clock: clock, TimeZone: zone(t, "Pacific/Pago_Pago")})
	east.databaseTime, west.databaseTime = databaseTime, databaseTime
	_, err := east.EnqueueDue(t.Context(), clock.Now())
	require.NoError(t, err)
	_, err = west.EnqueueDue(t.Context(), clock.Now())
	require.NoError(t, err)
	require.NoError(t, west.CheckSchedule(t.Context(), 0))
}
