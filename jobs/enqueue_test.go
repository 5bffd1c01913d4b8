package jobs

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/pipeline/load"
)

func TestWorkersRunEnqueuedPaths(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	clock := newFakeClock(moment(t, "2024-05-11T03:00:00Z"))
	s := newService(t, pool, Config{Clock: clock})
	dir := newSource(t, rows(4), "bad\n").Path
	good, err := s.Enqueue(ctx, RunRequest{Paths: []bucket.Location{dir.Join("a.csv")}, RequestedBy: "cli:ann"})
	require.NoError(t, err)
	bad, err := s.Enqueue(ctx, RunRequest{Paths: []bucket.Location{dir.Join("b.csv"), dir.Join("c.csv")}, RequestedBy: "cli:ann"})
	require.NoError(t, err)
	assert.Equal(t, ledger.StatusDue, status(t, s, good.RunID))
	require.NoError(t, s.Start(ctx))

	result, err := s.Await(ctx, good)
	require.NoError(t, err)
	assert.Equal(t, []any{good.RunID, 1, ledger.StatusSucceeded, "2024-05-10"}, []any{result.RunID, result.Attempt, result.Status, result.LogicalDate.String()})
	require.Len(t, result.Files, 1)
	assert.Equal(t, int64(4), result.Files[0].Loaded)
	assert.Equal(t, manualSource, result.Files[0].Source)
	assert.Equal(t, 1, count(t, pool, "SELECT count(*) FROM etl_logs WHERE message = 'run ended' AND run_id = 1"), "the log is written when Await returns")
	run, err := s.Ledger().Run(ctx, good.RunID)
	require.NoError(t, err)
	assert.Equal(t, []any{ledger.KindManual, "cli:ann", good.JobID}, []any{run.Kind, run.RequestedBy, run.JobID})
	assert.Equal(t, 1, count(t, pool, "SELECT count(*) FROM river_job WHERE kind = 'etl_run' AND state = 'completed' AND (args->>'run_id')::bigint = 1"))

	result, err = s.Await(ctx, bad)
	require.ErrorContains(t, err, "c.csv")
	assert.Equal(t, ledger.StatusFailed, result.Status)
	require.Len(t, result.Files, 2)
	assert.Equal(t, load.StatusFailed, result.Files[0].Status)
	assert.Equal(t, "not_found", result.Files[1].ErrorCode)
	assert.Equal(t, 1, result.Attempt, "bad files are not retried")
	assert.Equal(t, 2, count(t, pool, "SELECT count(*) FROM audit_events WHERE action = 'run.requested' AND actor = 'cli:ann'"))

	again, err := s.Enqueue(ctx, RunRequest{Paths: []bucket.Location{dir.Join("a.csv")}, RequestedBy: "cli:ann"})
	require.NoError(t, err)
	result, err = s.Await(ctx, again)
	require.NoError(t, err)
	assert.Equal(t, load.StatusUnchanged, result.Files[0].Status)
}

func TestAwaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	pool := newPool(t)
	s := newService(t, pool, Config{}) // whose workers are not started
	q, err := s.Enqueue(t.Context(), RunRequest{Paths: []bucket.Location{bucket.Path("x.csv")}, RequestedBy: "cli"})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 2*queuedEvery)
	defer cancel()
	_, err = s.Await(ctx, q)
	require.ErrorIs(t, err, context.DeadlineExceeded)

	_, err = s.river.JobCancel(t.Context(), q.JobID) // through River UI, say
	require.NoError(t, err)
	ctx, cancel = context.WithTimeout(t.Context(), testdb.Patience)
	defer cancel()
	_, err = s.Await(ctx, q)
	require.ErrorContains(t, err, "cancelled")
	assert.Equal(t, 1, count(t, pool, "SELECT count(*) FROM etl_runs"))
}
