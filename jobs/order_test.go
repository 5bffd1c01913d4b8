package jobs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/tests3"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/load"
)

// dated is a source with a file of one row for each date, all with the same id and an
// amount of its own.
func dated(t *testing.T, dates ...string) pipeline.Source {
	t.Helper()
	dir := t.TempDir()
	for i, d := range dates {
		row := fmt.Sprintf("%sT1,1,%d.00,2024-05-01\n", csvHeader, i+1)
		require.NoError(t, os.WriteFile(filepath.Join(dir, d+".csv"), []byte(row), 0o600))
	}
	return pipeline.Source{Name: "inbox", Path: bucket.Path(filepath.Join(dir, "{date}.csv"))}
}

// Two workers take the runs of three dates at once, and the first date's first attempt
// is slow, fails or was killed: the row of the first date is stored in each case.
func TestRunsOfASourceGoInTheOrderOfTheirDates(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(ctx context.Context) error{
		"slow":        func(context.Context) error { time.Sleep(500 * time.Millisecond); return nil },
		"unavailable": func(context.Context) error { time.Sleep(300 * time.Millisecond); return errUnavailable() },
		"killed":      nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, pool := context.Background(), newPool(t)
			real := load.New(pool, nil)
			var once sync.Once
			loader := fakeLoader{func(ctx context.Context, req load.Request) (load.Result, error) {
				var err error
				if fail != nil && req.LogicalDate == date(t, "2024-05-10") {
					once.Do(func() { err = fail(ctx) })
				}
				if err != nil {
					return load.Result{}, err
				}
				return real.Load(ctx, req)
			}}
			c := Config{Sources: []pipeline.Source{dated(t, "2024-05-10", "2024-05-11", "2024-05-12")}, Loader: loader}
			one, two := newService(t, pool, c), newService(t, pool, c)
			if fail == nil {
				stuck(t, one, "2024-05-10")
			}
			runs, err := one.Backfill(ctx, date(t, "2024-05-10"), date(t, "2024-05-12"), "test")
			require.NoError(t, err)
			require.NoError(t, one.Start(ctx))
			require.NoError(t, two.Start(ctx))
			for _, r := range runs {
				awaitStatus(t, one, r.ID, ledger.StatusSucceeded)
			}
			assert.Equal(t, 1, count(t, pool, "SELECT amount::int FROM transactions"), "the row of the first date")
			assert.Equal(t, "10 11 12", text(t, pool,
				"SELECT string_agg(to_char(logical_date, 'DD'), ' ' ORDER BY ended_at) FROM etl_run_sources JOIN etl_runs ON id = run_id"))
			assert.Equal(t, 2, count(t, pool, "SELECT count(*) FROM etl_attempts WHERE run_id > $1", runs[0].ID),
				"a run that waits makes no attempt")
		})
	}
}

// A source whose store is unavailable makes the later runs wait for it only. They are
// attempted again when it is their turn, and not before.
func TestAWaitingSourceHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	pool, store := newPool(t), tests3.New(t)
	store.Put("in/2024-05-10/a.csv", []byte(csvHeader+"T1,1,1.00,2024-05-01\n"))
	store.Put("in/2024-05-11/a.csv", []byte(csvHeader+"T1,1,2.00,2024-05-01\n"))
	disk := newSource(t, csvHeader+"L1,1,1.00,2024-05-01\n")
	disk.Name = "disk"
	s := newService(t, pool, Config{Sources: []pipeline.Source{{Name: "s3", Path: store.At("in/{date}")}, disk}})
	first, second := dueRun(t, s, "2024-05-10"), dueRun(t, s, "2024-05-11")
	require.Equal(t, river.EventKindJobSnoozed, work(t, pool, s, second, nil).EventKind)
	assert.Zero(t, count(t, pool, "SELECT count(*) FROM etl_attempts"), "nothing can be read yet")

	store.Stop()
	retried := work(t, pool, s, first, nil)
	require.Equal(t, river.EventKindJobFailed, retried.EventKind)
	waits := work(t, pool, s, second, nil)
	assert.Equal(t, river.EventKindJobSnoozed, waits.EventKind, "it uses no attempt of River's")
	run, err := s.Ledger().Run(t.Context(), second.ID)
	require.NoError(t, err)
	assert.Equal(t, ledger.StatusRetrying, run.Status)
	assert.Equal(t, "source s3 waits for the run of 2024-05-10", run.Error)
	assert.Equal(t, "1 disk 1 0, 2 disk 1 0", text(t, pool,
		"SELECT string_agg(concat_ws(' ', run_id, source, files, failed), ', ' ORDER BY run_id) FROM etl_run_sources"))
	for range 3 {
		waits = work(t, pool, s, second, waits.Job)
		require.Equal(t, river.EventKindJobSnoozed, waits.EventKind)
	}
	assert.Equal(t, 1, count(t, pool, "SELECT count(*) FROM etl_attempts WHERE run_id = $1", second.ID), "no attempt before its turn")

	store.Start()
	require.Equal(t, river.EventKindJobCompleted, work(t, pool, s, first, retried.Job).EventKind)
	require.Equal(t, river.EventKindJobCompleted, work(t, pool, s, second, waits.Job).EventKind)
	assert.Equal(t, 1, count(t, pool, "SELECT amount::int FROM transactions WHERE transaction_id = 'T1'"))
}

// A run that failed owes nothing, and a run in the foreground waits for none.
func TestWhoIsWaitedFor(t *testing.T) {
	t.Parallel()
	pool, broken := newPool(t), true
	loader := fakeLoader{func(_ context.Context, req load.Request) (load.Result, error) {
		if broken && req.LogicalDate == date(t, "2024-05-10") {
			return load.Result{}, errors.New("broken")
		}
		return loaded(req), nil
	}}
	s := newService(t, pool, Config{Sources: []pipeline.Source{dated(t, "2024-05-10", "2024-05-11", "2024-05-12")}, Loader: loader})
	first, second := dueRun(t, s, "2024-05-10"), dueRun(t, s, "2024-05-11")
	on := date(t, "2024-05-12")
	byHand, err := s.Run(t.Context(), RunRequest{Date: &on})
	require.NoError(t, err)
	assert.Equal(t, ledger.StatusSucceeded, byHand.Status)

	left, all, err := s.waits(t.Context(), second.ID)
	require.NoError(t, err)
	assert.True(t, all)
	require.Contains(t, left, "inbox")
	assert.Equal(t, 1, left["inbox"].Runs)
	assert.Equal(t, date(t, "2024-05-10"), *left["inbox"].First)
	require.Equal(t, river.EventKindJobCancelled, work(t, pool, s, first, nil).EventKind)
	require.Equal(t, river.EventKindJobCompleted, work(t, pool, s, second, nil).EventKind)
	_, all, err = s.waits(t.Context(), byHand.RunID)
	require.NoError(t, err)
	assert.False(t, all)
}

// Runs far behind look rarely, and the end of an attempt, or a tick, wakes the next one.
func TestTheNextRunIsWoken(t *testing.T) {
	t.Parallel()
	pool := newPool(t)
	s := newService(t, pool, Config{Sources: []pipeline.Source{dated(t, "2024-05-10", "2024-05-11", "2024-05-12")}, Loader: loads()})
	var runs []ledger.Run
	for _, d := range []string{"2024-05-10", "2024-05-11", "2024-05-12"} {
		runs = append(runs, dueRun(t, s, d))
	}
	left, _, err := s.waits(t.Context(), runs[1].ID)
	require.NoError(t, err)
	assert.Equal(t, nextSnooze, left.snooze())
	left, _, err = s.waits(t.Context(), runs[2].ID)
	require.NoError(t, err)
	assert.Equal(t, 2*laterSnooze, left.snooze())
	execute(t, pool, "UPDATE river_job SET state = 'scheduled', scheduled_at = now() + interval '1 hour' WHERE (args ->> 'run_id')::bigint > $1", runs[0].ID)
	const woken = "SELECT coalesce(string_agg(args ->> 'run_id', ' '), '') FROM river_job WHERE state = 'available' AND scheduled_at <= now() AND (args ->> 'run_id')::bigint > $1"
	require.NoError(t, s.wake(t.Context()))
	assert.Empty(t, text(t, pool, woken, runs[0].ID), "the first run is not finished")
	work(t, pool, s, runs[0], nil)
	assert.Equal(t, fmt.Sprint(runs[1].ID), text(t, pool, woken, runs[0].ID))
}

// A job that is cancelled or used up holds up the later runs until the next tick only.
func TestACancelledJobHoldsUpNoRun(t *testing.T) {
	t.Parallel()
	ctx, pool := t.Context(), newPool(t)
	s := newService(t, pool, Config{Sources: []pipeline.Source{dated(t, "2024-05-10", "2024-05-11", "2024-05-12")}, Loader: loads()})
	s.orphanedAfter = 0
	cancelled, discarded, last := dueRun(t, s, "2024-05-10"), dueRun(t, s, "2024-05-11"), dueRun(t, s, "2024-05-12")
	_, err := s.river.JobCancel(ctx, int64(count(t, pool, "SELECT min(id)::int FROM river_job")))
	require.NoError(t, err)
	execute(t, pool, "UPDATE river_job SET state = 'discarded', finalized_at = now() WHERE (args ->> 'run_id')::bigint = $1", discarded.ID)
	execute(t, pool, "UPDATE river_job SET state = 'scheduled', scheduled_at = now() + interval '1 hour' WHERE (args ->> 'run_id')::bigint = $1", last.ID)
	left, all, err := s.waits(ctx, last.ID)
	require.NoError(t, err)
	assert.True(t, all)
	assert.Equal(t, 2, left["inbox"].Runs)
	require.NoError(t, s.Start(ctx))
	awaitStatus(t, s, last.ID, ledger.StatusSucceeded)
	assert.Equal(t, ledger.StatusFailed, status(t, s, cancelled.ID))
	assert.Equal(t, ledger.StatusSucceeded, status(t, s, discarded.ID))
}
