package jobs

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/load"
)

const liveJobs = "SELECT count(*) FROM river_job WHERE state = 'available'"

// stuck leaves a run as kill -9 does: an attempt without an outcome, no lock, and
// a job that River holds for running.
func stuck(t *testing.T, s *Service, d string) ledger.Run {
	t.Helper()
	run := dueRun(t, s, d)
	execute(t, s.pool, "UPDATE river_job SET state = 'running', attempt = 1, attempted_at = now() - interval '1 minute', attempted_by = '{gone}'")
	execute(t, s.pool, `INSERT INTO etl_attempts (run_id, attempt, job_id, worker, code_version, started_at)
		SELECT $1, 1, id, 'gone', 'test', attempted_at FROM river_job`, run.ID)
	return run
}

func TestOrphanedRunIsRequeuedOnce(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	s := newService(t, pool, Config{Sources: []pipeline.Source{newSource(t, "a")}, Loader: loads()})
	run := stuck(t, s, "2024-05-10")

	// One process at a time reconciles.
	tx, err := pool.Begin(ctx)
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(ctx) }()
	var taken bool
	require.NoError(t, tx.QueryRow(ctx, "SELECT pg_try_advisory_xact_lock($1::int4, 0)", int32(reconcileLockClass)).Scan(&taken))
	require.True(t, taken)
	given, err := s.Reconcile(ctx)
	require.NoError(t, err)
	require.Empty(t, given)
	require.NoError(t, tx.Rollback(ctx))

	var all sync.WaitGroup
	for range 3 {
		other := newService(t, pool, Config{})
		for range 4 {
			all.Go(func() {
				_, err := other.Reconcile(ctx)
				assert.NoError(t, err)
			})
		}
	}
	all.Wait()
	require.Equal(t, 1, count(t, pool, liveJobs))

	require.NoError(t, s.Start(ctx))
	awaitStatus(t, s, run.ID, ledger.StatusSucceeded)
	attempts, err := attemptsOf(ctx, s, run.ID)
	require.NoError(t, err)
	assert.Equal(t, []string{ledger.StatusLost, ledger.StatusSucceeded}, []string{attempts[0].Status, attempts[1].Status})

	// River rescues the old job at last: it finds nothing to do.
	execute(t, pool, "UPDATE river_job SET state = 'available' WHERE state = 'running'")
	require.Eventually(t, func() bool {
		return count(t, pool, "SELECT count(*) FROM river_job WHERE kind = 'etl_run' AND state = 'completed'") == 2
	}, testdb.Patience, 20*time.Millisecond)
	assert.Equal(t, 2, count(t, pool, "SELECT count(*) FROM etl_attempts"))
}

// The database's clock was ahead for a moment, in which a worker took a run and was killed.
func TestOrphanOfAClockThatWasAhead(t *testing.T) {
	t.Parallel()
	pool := newPool(t)
	s := newService(t, pool, Config{})
	run := dueRun(t, s, "2024-05-10")
	execute(t, pool, "UPDATE river_job SET state = 'running', attempt = 1, attempted_at = now() + interval '40 days', attempted_by = '{gone}'")
	execute(t, pool, `INSERT INTO etl_attempts (run_id, attempt, job_id, worker, code_version, started_at)
		SELECT $1, 1, id, 'gone', 'test', attempted_at FROM river_job`, run.ID)
	for _, want := range [][]int64{{run.ID}, nil} {
		given, err := s.Reconcile(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, given)
	}
}

func TestReconcileLeavesAloneWhatIsAttended(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	s := newService(t, pool, Config{})
	locked := stuck(t, s, "2024-05-10")
	lock, err := lockRun(ctx, pool, locked.ID)
	require.NoError(t, err)
	for i, state := range []string{"available", "retryable", "scheduled", "running"} {
		dueRun(t, s, fmt.Sprintf("2024-05-1%d", i+1))
		execute(t, pool, "UPDATE river_job SET state = $1::river_job_state WHERE id = (SELECT max(id) FROM river_job)", state)
	}
	time.Sleep(s.orphanedAfter) // all of them are old enough now
	fresh := dueRun(t, s, "2024-05-15")
	execute(t, pool, "DELETE FROM river_job WHERE (args ->> 'run_id')::bigint = $1", fresh.ID)
	// River has just fetched this one; it is on its way to the lock.
	execute(t, pool, "UPDATE river_job SET attempted_at = now() WHERE id = (SELECT max(id) FROM river_job)")
	given, err := s.Reconcile(ctx)
	require.NoError(t, err)
	assert.Empty(t, given)
	lock.release(ctx)
	given, err = s.Reconcile(ctx)
	require.NoError(t, err)
	assert.Equal(t, []int64{locked.ID}, given)
}

func TestDeletedJobComesBackAndCancelledDoesNot(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	s := newService(t, pool, Config{})
	s.orphanedAfter = 0
	deleted, cancelled := dueRun(t, s, "2024-05-10"), dueRun(t, s, "2024-05-11")
	execute(t, pool, "DELETE FROM river_job WHERE (args ->> 'run_id')::bigint = $1", deleted.ID)
	_, err := s.river.JobCancel(ctx, int64(count(t, pool, "SELECT max(id)::int FROM river_job")))
	require.NoError(t, err)
	given, err := s.Reconcile(ctx)
	require.NoError(t, err)
	assert.Equal(t, []int64{deleted.ID}, given)
	run, err := s.Ledger().Run(ctx, cancelled.ID)
	require.NoError(t, err)
	assert.Equal(t, ledger.StatusFailed, run.Status)
	assert.Equal(t, errCancelled.Error(), run.Error)
	assert.Equal(t, 1, count(t, pool, "SELECT count(*) FROM audit_events WHERE action = 'run.cancelled' AND subject = $1::text", cancelled.ID))
}

func TestCancelInRiverEndsARunningRun(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	loading := make(chan struct{})
	loader := fakeLoader{func(ctx context.Context, _ load.Request) (load.Result, error) {
		close(loading)
		<-ctx.Done()
		return load.Result{}, ctx.Err()
	}}
	s := newService(t, pool, Config{Sources: []pipeline.Source{newSource(t, "a")}, Loader: loader})
	require.NoError(t, s.Start(ctx))
	run := dueRun(t, s, "2024-05-10")
	await(t, loading)
	_, err := s.river.JobCancel(ctx, int64(count(t, pool, "SELECT max(id)::int FROM river_job")))
	require.NoError(t, err)
	awaitStatus(t, s, run.ID, ledger.StatusFailed)
}

func TestCrashedManualRunIsLost(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	s := newService(t, pool, Config{})
	on := date(t, "2024-05-10")
	q, err := s.createManual(ctx, RunRequest{Paths: []bucket.Location{bucket.Path("x.csv")}, RequestedBy: "cli", Date: &on}, false)
	require.NoError(t, err)
	runID := q.RunID
	execute(t, pool, `INSERT INTO etl_attempts (run_id, attempt, worker, code_version, started_at)
		VALUES ($1, 1, 'gone', 'test', now() - interval '1 minute')`, runID)
	given, err := s.Reconcile(ctx)
	require.NoError(t, err)
	assert.Empty(t, given, "its paths may be on another machine")
	assert.Equal(t, ledger.StatusLost, status(t, s, runID))
}

// A run that failed, was retried by hand and crashed then, is requeued.
func TestOldCancelledJobIsNoCancellation(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	s := newService(t, pool, Config{Sources: []pipeline.Source{newSource(t, "bad")}})
	run := dueRun(t, s, "2024-05-10")
	require.Equal(t, river.EventKindJobCancelled, work(t, pool, s, run, nil).EventKind)
	execute(t, pool, "UPDATE river_job SET state = 'cancelled', finalized_at = now() WHERE state = 'available'")
	execute(t, pool, "INSERT INTO etl_attempts (run_id, attempt, worker, code_version, started_at) VALUES ($1, 2, 'gone', 'test', now())", run.ID)
	s.orphanedAfter = 0
	given, err := s.Reconcile(ctx)
	require.NoError(t, err)
	assert.Equal(t, []int64{run.ID}, given)
}
