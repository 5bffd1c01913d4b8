package jobs

import (
	"bytes"
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/summaries"
)

const (
	verified   = "SELECT coalesce(string_agg(concat_ws(' ', logical_date, requested_by, status, rows, differences), ', ' ORDER BY id), '') FROM etl_verifications"
	verifyJobs = "SELECT count(*) FROM river_job WHERE kind = 'verify'"
)

// The database is verified once a logical date, after its run; a difference is an error in the log,
// and in the ledger.
func TestNightIsVerified(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	var log bytes.Buffer
	s := newService(t, pool, Config{Sources: []pipeline.Source{newSource(t, rows(20))}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, s.Start(ctx))
	verifiedAs := func(want string) {
		t.Helper()
		require.Eventually(t, func() bool {
			_, err := s.Reconcile(ctx)
			return err == nil && text(t, pool, verified) == want
		}, testdb.Patience, 20*time.Millisecond, "want %s", want)
	}
	awaitStatus(t, s, dueRun(t, s, "2024-05-10").ID, ledger.StatusSucceeded)
	verifiedAs("2024-05-10 schedule clean 20 0")
	_, err := s.Reconcile(ctx)
	require.NoError(t, err)
	assert.Equal(t, 1, count(t, pool, verifyJobs), "once a logical date")

	execute(t, pool, "BEGIN; SET LOCAL tally.writer = 'tally'; DELETE FROM transaction_keys WHERE transaction_id = 'T3'; COMMIT")
	awaitStatus(t, s, dueRun(t, s, "2024-05-11").ID, ledger.StatusSucceeded)
	verifiedAs("2024-05-10 schedule clean 20 0, 2024-05-11 schedule drift 20 1")
	assert.JSONEq(t, `[{"relation": "transaction_keys", "key": "transaction_id T3", "field": "place", "stored": "no key", "computed": "user 4 on 2024-05-01"}]`,
		text(t, pool, "SELECT found::text FROM etl_verifications WHERE status = 'drift'"))
	require.Eventually(t, func() bool { return count(t, pool, verifyJobs+" AND state = 'completed'") == 2 }, testdb.Patience, 20*time.Millisecond)
	require.NoError(t, s.Stop(ctx))
	assert.Contains(t, log.String(), `level=ERROR msg="verification found differences" logical_date=2024-05-11 rows=20 differences=1`)
	assert.Contains(t, log.String(), `next="tally rebuild"`)

	stats, err := s.Ledger().Stats(ctx)
	require.NoError(t, err)
	assert.WithinDuration(t, time.Now(), stats.LastVerification, time.Minute)
	assert.Less(t, stats.LastVerificationAge, time.Minute)
	assert.Equal(t, ledger.StatusDrift, stats.LastVerificationStatus)
	assert.Equal(t, int64(1), stats.LastVerificationDrifts)
}

// A verification waits for the runs of dates, but not forever; it is repeated after a crash, and
// not while another one is going on.
func TestDueVerification(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	s := newService(t, pool, Config{Loader: loads()})
	s.orphanedAfter = 0
	reconcile := func() int {
		t.Helper()
		_, err := s.Reconcile(ctx)
		require.NoError(t, err)
		return count(t, pool, verifyJobs)
	}
	assert.Zero(t, reconcile(), "there is no run")
	_, err := s.Backfill(ctx, date(t, "2024-05-09"), date(t, "2024-05-10"), "test")
	require.NoError(t, err)
	assert.Zero(t, reconcile(), "two runs are due")
	for _, d := range []string{"2024-05-10", "2024-05-09"} {
		on := date(t, d)
		assert.Zero(t, reconcile(), "a run is due")
		_, err := s.Run(ctx, RunRequest{Date: &on})
		require.NoError(t, err)
	}
	assert.Equal(t, 1, reconcile())
	assert.Equal(t, "2024-05-10", text(t, pool, "SELECT args ->> 'logical_date' FROM river_job WHERE kind = 'verify'"), "of the newest date")
	assert.Equal(t, 1, reconcile(), "it is waiting")

	execute(t, pool, "UPDATE river_job SET state = 'running', attempted_at = now() - interval '1 minute', attempt = 1 WHERE kind = 'verify'")
	lock, err := pool.Begin(ctx)
	require.NoError(t, err)
	_, err = lock.Exec(ctx, "SELECT pg_advisory_xact_lock($1::int4, 0)", summaries.VerifyLockClass)
	require.NoError(t, err)
	assert.Equal(t, 1, reconcile(), "another process verifies")
	_, err = summaries.Verify(ctx, pool, summaries.VerifyOptions{Exclusive: true}, func(summaries.Drift) {})
	require.ErrorIs(t, err, summaries.ErrVerifying)
	require.NoError(t, lock.Rollback(ctx))
	assert.Equal(t, 2, reconcile(), "its worker was killed")

	execute(t, pool, "DELETE FROM river_job WHERE kind = 'verify'")
	require.NoError(t, s.Ledger().AddVerification(ctx, ledger.Verification{LogicalDate: new(date(t, "2024-05-10")), Status: ledger.StatusRetrying, Error: "x", StartedAt: time.Now()}))
	assert.Equal(t, 1, reconcile(), "it is to be tried again")
	execute(t, pool, "DELETE FROM river_job WHERE kind = 'verify'")
	require.NoError(t, s.Ledger().AddVerification(ctx, ledger.Verification{LogicalDate: new(date(t, "2024-05-10")), Status: ledger.StatusFailed, Error: "x", StartedAt: time.Now()}))
	assert.Zero(t, reconcile(), "it has failed")

	stuck := dueRun(t, s, "2024-05-11")
	assert.Zero(t, reconcile(), "the run is due")
	execute(t, pool, "ALTER TABLE etl_runs DISABLE TRIGGER append_only")
	execute(t, pool, "UPDATE etl_runs SET created_at = now() - interval '7 hours' WHERE id = $1", stuck.ID)
	assert.Equal(t, 1, reconcile(), "the run has not ended for hours")

	off := newService(t, pool, Config{Verify: VerifyOff})
	off.orphanedAfter = 0
	execute(t, pool, "DELETE FROM river_job WHERE kind = 'verify'")
	_, err = off.Reconcile(ctx)
	require.NoError(t, err)
	assert.Zero(t, count(t, pool, verifyJobs), "it is off")
}

// A verification that cannot be made is tried again, and each try is in the ledger.
func TestVerificationIsRetried(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	s := newService(t, pool, Config{Loader: loads()})
	require.NoError(t, s.Start(ctx))
	execute(t, pool, "ALTER TABLE daily_totals RENAME TO hidden")
	awaitStatus(t, s, dueRun(t, s, "2024-05-10").ID, ledger.StatusSucceeded)
	require.Eventually(t, func() bool {
		_, err := s.Reconcile(ctx)
		return err == nil && count(t, pool, "SELECT count(*) FROM etl_verifications WHERE status = 'retrying' AND error LIKE '%daily_totals%'") > 0
	}, testdb.Patience, 20*time.Millisecond)
	execute(t, pool, "ALTER TABLE hidden RENAME TO daily_totals")
	require.Eventually(t, func() bool {
		return count(t, pool, "SELECT count(*) FROM etl_verifications WHERE status = 'clean'") == 1
	}, testdb.Patience, 20*time.Millisecond)
}
