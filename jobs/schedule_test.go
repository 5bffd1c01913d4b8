package jobs

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/opentax/tally/internal/civil"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMidnightMakesOneRun(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ zone, from, to string }{
		{"America/New_York", "2024-03-08", "2024-03-12"},
		{"America/New_York", "2024-11-01", "2024-11-06"},
		{"Africa/Cairo", "2024-04-24", "2024-04-28"},
		{"Africa/Cairo", "2024-10-30", "2024-11-02"},
		{"Asia/Beirut", "2024-03-29", "2024-04-02"},
		{"Asia/Beirut", "2024-10-25", "2024-10-29"},
	} {
		t.Run(c.zone+" "+c.from, func(t *testing.T) {
			t.Parallel()
			ctx, z := context.Background(), zone(t, c.zone)
			s := newService(t, newPool(t), Config{TimeZone: z})
			first := date(t, c.from)
			_, err := s.EnqueueDue(ctx, first.Start(z))
			require.NoError(t, err)
			for d := first + 1; d <= date(t, c.to); d++ {
				early, err := s.EnqueueDue(ctx, d.Start(z).Add(-time.Second))
				require.NoError(t, err)
				require.Empty(t, early, "a second before %s", d)
				runs, err := s.EnqueueDue(ctx, d.Start(z))
				require.NoError(t, err)
				require.Len(t, runs, 1)
				assert.Equal(t, d-1, runs[0].LogicalDate)
			}
		})
	}
}

func TestTickerWakesAtMidnight(t *testing.T) {
	t.Parallel()
	z := zone(t, "Africa/Cairo")
	clock := newFakeClock(moment(t, "2024-04-25T21:59:53Z")) // midnight in 7 s; it is skipped
	pool := newPool(t)
	s := newService(t, pool, Config{TimeZone: z, Clock: clock, Loader: loads()})
	require.NoError(t, s.Start(context.Background()))
	assert.Equal(t, 7*time.Second, clock.awaitSleeper(t))
	assert.Empty(t, dates(t, pool))
	clock.advance(7 * time.Second)
	assert.Equal(t, tickEvery, clock.awaitSleeper(t))
	assert.Equal(t, "04-25", dates(t, pool))
}

func TestFirstStartMissesNothing(t *testing.T) {
	t.Parallel()
	pool := newPool(t)
	s := newService(t, pool, Config{})
	runs, err := s.EnqueueDue(context.Background(), moment(t, "2024-05-10T13:00:00Z"))
	require.NoError(t, err)
	assert.Empty(t, runs)
	assert.Equal(t, "2024-05-09 UTC", text(t, pool, "SELECT last_date || ' ' || time_zone FROM etl_schedule"))
}

func TestFiveMissedNightsAndThreeWorkers(t *testing.T) {
	t.Parallel()
	for policy, want := range map[CatchUp]string{
		CatchUpAll:    "05-10 05-11 05-12 05-13 05-14",
		CatchUpLatest: "05-14",
		CatchUpNone:   "",
	} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			pool := newPool(t)
			var workers []*Service
			for range 3 {
				workers = append(workers, newService(t, pool, Config{CatchUp: policy}))
			}
			everywhere(t, workers, moment(t, "2024-05-10T12:00:00Z"))
			require.Empty(t, dates(t, pool))
			everywhere(t, workers, moment(t, "2024-05-15T12:00:00Z"))
			assert.Equal(t, want, dates(t, pool))
			runs := count(t, pool, "SELECT count(*) FROM etl_runs")
			assert.Equal(t, runs, count(t, pool, "SELECT count(*) FROM river_job WHERE kind = 'etl_run'"))
			assert.Equal(t, runs, count(t, pool, "SELECT count(*) FROM audit_events WHERE action = 'run.requested'"))
			assert.Equal(t, 5-runs, count(t, pool,
				"SELECT coalesce(sum(jsonb_array_length(detail -> 'dates')), 0)::int FROM audit_events WHERE action = 'run.skipped'"))
		})
	}
}

// everywhere has all workers decide at the same time, several times over.
func everywhere(t *testing.T, workers []*Service, now time.Time) {
	t.Helper()
	var all sync.WaitGroup
	for _, s := range workers {
		for range 4 {
			all.Go(func() {
				_, err := s.EnqueueDue(context.Background(), now)
				assert.NoError(t, err)
			})
		}
	}
	all.Wait()
}

func TestNoneStillKeepsMidnight(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	s := newService(t, pool, Config{CatchUp: CatchUpNone})
	for _, now := range []string{"2024-05-10T12:00:00Z", "2024-05-11T00:00:20Z", "2024-05-13T00:59:59Z", "2024-05-14T01:00:00Z"} {
		_, err := s.EnqueueDue(ctx, moment(t, now))
		require.NoError(t, err)
	}
	assert.Equal(t, "05-10 05-12", dates(t, pool), "in time, and late by less than the grace")
	assert.Equal(t, "2024-05-11/2024-05-11 2024-05-13/2024-05-13",
		text(t, pool, "SELECT string_agg(subject, ' ' ORDER BY id) FROM audit_events WHERE action = 'run.skipped'"))
}

func TestCatchUpHasALimit(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	s := newService(t, pool, Config{CatchUpLimit: 3})
	_, err := s.EnqueueDue(ctx, moment(t, "2020-01-01T00:00:00Z"))
	require.NoError(t, err)
	_, err = s.EnqueueDue(ctx, moment(t, "2024-05-10T00:00:00Z"))
	require.NoError(t, err)
	assert.Equal(t, "05-07 05-08 05-09", dates(t, pool))
	var detail struct {
		Policy   string
		From, To civil.Date
		Count    int
		Dates    []civil.Date
	}
	require.NoError(t, json.Unmarshal([]byte(text(t, pool, "SELECT detail FROM audit_events WHERE action = 'run.skipped'")), &detail))
	assert.Equal(t, "all", detail.Policy)
	assert.Equal(t, []civil.Date{date(t, "2020-01-01"), date(t, "2024-05-06")}, []civil.Date{detail.From, detail.To})
	assert.Equal(t, int(detail.To-detail.From)+1, detail.Count)
	assert.Len(t, detail.Dates, skippedDatesNamed, "a long range is not spelled out")
}

func TestWatermarkNeverGoesBack(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	s := newService(t, pool, Config{})
	for _, now := range []string{"2024-05-10T12:00:00Z", "2024-05-12T00:00:00Z", "2024-05-08T00:00:00Z", "2024-05-12T10:00:00Z"} {
		_, err := s.EnqueueDue(ctx, moment(t, now))
		require.NoError(t, err)
	}
	west := newService(t, pool, Config{TimeZone: zone(t, "Pacific/Pago_Pago")}) // still the day before
	_, err := west.EnqueueDue(ctx, moment(t, "2024-05-12T10:00:00Z"))
	require.NoError(t, err)
	assert.Equal(t, "05-10 05-11", dates(t, pool))
	assert.Equal(t, "2024-05-11", text(t, pool, "SELECT last_date::text FROM etl_schedule"))
}

func TestBackfilledDateIsNotRunAgain(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	s := newService(t, pool, Config{})
	_, err := s.EnqueueDue(ctx, moment(t, "2024-05-10T12:00:00Z"))
	require.NoError(t, err)
	dueRun(t, s, "2024-05-11")
	runs, err := s.EnqueueDue(ctx, moment(t, "2024-05-13T12:00:00Z"))
	require.NoError(t, err)
	assert.Len(t, runs, 2)
	assert.Equal(t, "05-10 05-11 05-12", dates(t, pool))
	assert.Equal(t, 3, count(t, pool, "SELECT count(*) FROM river_job WHERE kind = 'etl_run'"))
}

// The database refuses for 5 seconds around midnight, once the ledger's insert
// and once River's.
func TestRefusedInsertsLoseNoMidnight(t *testing.T) {
	t.Parallel()
	for _, table := range []string{"etl_runs", "river_job", "audit_events"} {
		t.Run(table, func(t *testing.T) {
			t.Parallel()
			pool := newPool(t)
			clock := newFakeClock(moment(t, "2024-05-10T23:59:57Z"))
			s := newService(t, pool, Config{Clock: clock, Loader: loads()})
			require.NoError(t, s.Start(context.Background()))
			clock.awaitSleeper(t)
			allow := refuse(t, pool, table, "57P03")
			for elapsed := time.Duration(0); elapsed < 3*time.Second+5*time.Second; {
				pause := clock.awaitSleeper(t)
				elapsed += pause
				clock.advance(pause)
			}
			clock.awaitSleeper(t)
			assert.Empty(t, dates(t, pool), "nothing happens by halves")
			assert.Equal(t, "2024-05-09", text(t, pool, "SELECT last_date::text FROM etl_schedule"))
			allow()
			clock.advance(clock.awaitSleeper(t))
			clock.awaitSleeper(t)
			assert.Equal(t, "05-10", dates(t, pool))
			assert.Equal(t, 1, count(t, pool, "SELECT count(*) FROM river_job WHERE kind = 'etl_run'"))
		})
	}
}
