package jobs

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/load"
	"github.com/opentax/tally/pipeline/parquet"
	"github.com/opentax/tally/pipeline/seal"
	"github.com/opentax/tally/summaries"
)

// retiring asks for the months before June 2024, of which [rows] has one.
func retiring(t *testing.T) ledger.RetireRequest {
	t.Helper()
	return ledger.RetireRequest{Before: date(t, "2024-06-01").Month(), KeepTotals: true, By: audit.By{Actor: "token:otto", Reason: "law"}, Origin: "192.0.2.1"}
}

// awaitRetirement waits for the end of a retirement.
func awaitRetirement(t *testing.T, s *Service, id int64) (r ledger.Retirement) {
	t.Helper()
	require.Eventually(t, func() bool {
		var err error
		r, err = s.Ledger().Retirement(context.Background(), id)
		require.NoError(t, err)
		return !r.FinishedAt.IsZero()
	}, testdb.Patience, 20*time.Millisecond)
	return r
}

// withTarget is a service with a target of exports, which has loaded a file of 20 rows.
func withTarget(t *testing.T) *Service {
	t.Helper()
	s := newService(t, newPool(t), Config{ExportTo: bucket.Path(t.TempDir())})
	_, err := s.Run(context.Background(), RunRequest{Paths: []bucket.Location{newSource(t, rows(20)).Path}, RequestedBy: "test"})
	require.NoError(t, err)
	return s
}

// A worker retires what was requested, once; the outcome is of the same commit.
func TestRequestedRetirement(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := withTarget(t)
	pool := s.pool

	preview := retiring(t)
	preview.DryRun = true
	asked, err := s.RequestRetirement(ctx, preview)
	require.NoError(t, err)
	assert.True(t, asked.Created)
	assert.Equal(t, "queued", asked.Status)
	again, err := s.RequestRetirement(ctx, preview)
	require.NoError(t, err)
	assert.Equal(t, asked.ID, again.ID)
	assert.False(t, again.Created)
	wanted := retiring(t)
	wanted.Export = true
	_, err = s.RequestRetirement(ctx, wanted)
	require.ErrorIs(t, err, ledger.ErrRetiring)

	require.NoError(t, s.Start(ctx))
	shown := awaitRetirement(t, s, asked.ID)
	assert.Equal(t, [3]any{"succeeded", int64(20), "2024-05"}, [3]any{shown.Status, shown.Result.Rows, shown.Result.Months[0].Month})
	assert.Equal(t, 20, count(t, pool, "SELECT count(*) FROM transactions"), "it was a preview")

	asked, err = s.RequestRetirement(ctx, wanted)
	require.NoError(t, err)
	done := awaitRetirement(t, s, asked.ID)
	require.Equal(t, "succeeded", done.Status, done.Error)
	assert.Regexp(t, "^transactions/month=2024-05-01/", done.Result.Months[0].Exported)
	assert.Zero(t, count(t, pool, "SELECT count(*) FROM transactions"))
	assert.Equal(t, 1, count(t, pool, "SELECT count(*) FROM etl_retired m JOIN etl_retirement_outcomes o ON o.xmin = m.xmin AND o.retirement_id = $1", asked.ID), "in one commit")
	assert.Equal(t, "token:otto law", text(t, pool, "SELECT string_agg((entry::json->>'actor') || ' ' || (entry::json->>'reason'), ',') FROM audit_chain WHERE kind = 'retire'"))
	assert.Equal(t, "token:otto 1 192.0.2.1 true,token:otto 2 192.0.2.1 false", text(t, pool,
		"SELECT string_agg(concat_ws(' ', actor, subject, origin, detail->>'dry_run'), ',' ORDER BY id) FROM audit_events WHERE action = 'partitions.retire_requested'"))

	head := count(t, pool, "SELECT max(number) FROM audit_chain")
	asked, err = s.RequestRetirement(ctx, wanted)
	require.NoError(t, err)
	done = awaitRetirement(t, s, asked.ID)
	assert.Equal(t, [2]any{"succeeded", 0}, [2]any{done.Status, len(done.Result.Months)}, "there is nothing more to retire")
	assert.Equal(t, head, count(t, pool, "SELECT max(number) FROM audit_chain"))
	v, err := seal.Verify(ctx, pool, audit.Head{})
	require.NoError(t, err)
	assert.Nil(t, v.Broken)
}

// Under the load lock nothing is read from the target: one that does not answer would keep loads waiting.
func TestRetireReadsTheTargetBeforeTheLoadLock(t *testing.T) {
	t.Parallel()
	testdb.SkipOnCluster(t, "there the export waits for the load lock, too")
	ctx := context.Background()
	s := withTarget(t)
	lake, _ := s.config.ExportTo.Local()
	pool := s.pool
	loading := holdLoads(t, pool)
	req := RetireRequest{Retirement: load.Retirement{Before: retiring(t).Before}, ExportTo: bucket.Path(lake)}
	done := make(chan error, 1)
	go func() {
		_, err := s.Retire(ctx, req)
		done <- err
	}()
	awaitRetiring(t, pool)
	require.NoError(t, os.Rename(filepath.Join(lake, parquet.ManifestName), filepath.Join(lake, "aside")))
	require.NoError(t, loading.Rollback(ctx))
	require.NoError(t, <-done)
	assert.Equal(t, 1, count(t, pool, "SELECT count(*) FROM etl_retired WHERE exported_path LIKE 'transactions/month=2024-05-01/%'"))
}

// A retirement whose worker was killed is given to another one, and one that was cancelled is not.
func TestOrphanedRetirement(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	s := newService(t, pool, Config{})
	s.orphanedAfter = 0
	reconcile := func() int {
		t.Helper()
		_, err := s.Reconcile(ctx)
		require.NoError(t, err)
		return count(t, pool, "SELECT count(*) FROM river_job WHERE kind = 'retire'")
	}
	_, err := s.RequestRetirement(ctx, ledger.RetireRequest{Export: true})
	require.ErrorIs(t, err, ledger.ErrNoExport)
	assert.Zero(t, reconcile())
	asked, err := s.RequestRetirement(ctx, retiring(t))
	require.NoError(t, err)
	assert.Equal(t, 1, reconcile(), "it is waiting")
	execute(t, pool, "UPDATE river_job SET state = 'running', attempted_at = now() - interval '1 minute', attempt = 1 WHERE kind = 'retire'")
	running, err := s.Ledger().Retirement(ctx, asked.ID)
	require.NoError(t, err)
	assert.Equal(t, "running", running.Status)

	locked, err := pool.Begin(ctx)
	require.NoError(t, err)
	_, err = locked.Exec(ctx, "LOCK TABLE etl_retired IN EXCLUSIVE MODE")
	require.NoError(t, err)
	assert.Equal(t, 1, reconcile(), "it is at work")
	require.NoError(t, locked.Rollback(ctx))
	assert.Equal(t, 2, reconcile(), "its worker was killed")
	assert.Equal(t, 2, reconcile(), "the other job is waiting")

	execute(t, pool, "DELETE FROM river_job WHERE kind = 'retire'")
	assert.Equal(t, 1, reconcile(), "its job was deleted")
	_, err = s.river.JobCancel(ctx, int64(count(t, pool, "SELECT max(id) FROM river_job WHERE kind = 'retire'")))
	require.NoError(t, err)
	assert.Equal(t, 1, reconcile(), "it was cancelled")
	cancelled, err := s.Ledger().Retirement(ctx, asked.ID)
	require.NoError(t, err)
	assert.Equal(t, [2]string{"failed", "cancelled through River"}, [2]string{cancelled.Status, cancelled.Error})
	_, err = s.Ledger().Retirement(ctx, 99)
	require.ErrorIs(t, err, ledger.ErrRetirementNotFound)
}

// A retirement that was recorded as cancelled while a worker was at it changes nothing.
func TestRetirementEndedMeanwhile(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	s := newService(t, pool, Config{Sources: []pipeline.Source{newSource(t, rows(3))}})
	require.NoError(t, s.Start(ctx))
	awaitStatus(t, s, dueRun(t, s, "2024-05-10").ID, ledger.StatusSucceeded)
	loading := holdLoads(t, pool)
	asked, err := s.RequestRetirement(ctx, retiring(t))
	require.NoError(t, err)
	awaitRetiring(t, pool)
	_, err = s.endRetirement(ctx, pool, asked.ID, outcome{ledger.StatusFailed, errCancelled}, nil)
	require.NoError(t, err)
	require.NoError(t, loading.Rollback(ctx))
	require.Eventually(t, func() bool {
		return count(t, pool, "SELECT count(*) FROM river_job WHERE kind = 'retire' AND finalized_at IS NOT NULL") == 1
	}, testdb.Patience, 20*time.Millisecond)
	assert.Equal(t, "cancelled", text(t, pool, "SELECT state FROM river_job WHERE kind = 'retire'"))
	assert.Equal(t, "failed", awaitRetirement(t, s, asked.ID).Status)
	assert.Equal(t, 3, count(t, pool, "SELECT count(*) FROM transactions"))
	assert.Zero(t, count(t, pool, "SELECT count(*) FROM etl_retired"))
}

// holdLoads takes the load lock, as a load does that is about to commit.
func holdLoads(t *testing.T, pool *pgxpool.Pool) pgx.Tx {
	t.Helper()
	tx, err := pool.Begin(context.Background())
	require.NoError(t, err)
	_, err = tx.Exec(context.Background(), "SELECT pg_advisory_xact_lock($1)", summaries.LoadLock)
	require.NoError(t, err)
	return tx
}

// awaitRetiring waits until a retirement waits for the load lock, or is about to.
func awaitRetiring(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	require.Eventually(t, func() bool {
		return count(t, pool, "SELECT count(*) FROM pg_locks WHERE relation = 'etl_retired'::regclass AND mode = 'ExclusiveLock' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())") == 1
	}, testdb.Patience, 10*time.Millisecond)
}

// A retirement with an export goes to the workers that have a target, also if it is requeued.
func TestRetirementWithExportNeedsTarget(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	with, without := newService(t, pool, Config{ExportTo: bucket.Path(t.TempDir())}), newService(t, pool, Config{})
	wanted := retiring(t)
	wanted.Export = true
	_, err := with.RequestRetirement(ctx, wanted)
	require.NoError(t, err)
	served := func() {
		t.Helper()
		queue := text(t, pool, "SELECT queue FROM river_job WHERE kind = 'retire'")
		assert.Contains(t, with.riverConfig().Queues, queue)
		assert.NotContains(t, without.riverConfig().Queues, queue)
	}
	served()
	execute(t, pool, "DELETE FROM river_job WHERE kind = 'retire'")
	_, err = without.Reconcile(ctx)
	require.NoError(t, err)
	served()
}

// A retirement that cannot succeed fails at once, and its error is kept.
func TestRetirementFails(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	s := newService(t, pool, Config{Sources: []pipeline.Source{newSource(t, rows(3))}})
	execute(t, pool, "CREATE TABLE by_hand PARTITION OF transactions FOR VALUES FROM ('2024-04-01') TO ('2024-08-01')")
	require.NoError(t, s.Start(ctx))
	awaitStatus(t, s, dueRun(t, s, "2024-05-10").ID, ledger.StatusSucceeded)
	fails := func(r ledger.RetireRequest, reason string) {
		t.Helper()
		asked, err := s.RequestRetirement(ctx, r)
		require.NoError(t, err)
		failed := awaitRetirement(t, s, asked.ID)
		assert.Equal(t, "failed", failed.Status)
		assert.Contains(t, failed.Error, reason)
		assert.Equal(t, 1, count(t, pool, "SELECT attempt FROM river_job WHERE kind = 'retire' ORDER BY id DESC LIMIT 1"))
	}
	fails(retiring(t), "a partition has later months, too")
	later := retiring(t)
	later.Before, later.KeepTables = date(t, "2024-08-01").Month(), true
	fails(later, "month 2024-05: the partition was made by hand")
	execute(t, pool, "SET tally.writer = 'tally'; DELETE FROM transaction_keys; RESET tally.writer")
	fails(later, "transaction_keys differs from the rows: run tally verify")
	assert.Equal(t, 3, count(t, pool, "SELECT count(*) FROM transactions"))
}
