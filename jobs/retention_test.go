package jobs

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/load"
	"github.com/opentax/tally/summaries"
)

func TestAge(t *testing.T) {
	t.Parallel()
	var a Age
	require.NoError(t, a.UnmarshalText([]byte("400d")))
	assert.Equal(t, Age(400), a)
	for _, wrong := range []string{"", "d", "0d", "-1d", "400", "4h", "1.5d"} {
		assert.Error(t, a.UnmarshalText([]byte(wrong)), wrong)
	}
}

// After a night, the records that are past their age are removed, and no others.
func TestOldRecordsAreRemovedAfterTheNight(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	s := newService(t, pool, Config{Sources: []pipeline.Source{newSource(t, rows(20))}, Retention: Retention{AuditEvents: 400}})
	_, err := pool.Exec(ctx, "INSERT INTO audit_events (at, actor, action, subject) VALUES (now() - interval '401 days', 'old', 'x', ''), (now() - interval '399 days', 'new', 'x', '')")
	require.NoError(t, err)
	require.NoError(t, s.Start(ctx))
	run := dueRun(t, s, "2024-05-10")
	awaitStatus(t, s, run.ID, ledger.StatusSucceeded)
	require.Eventually(t, func() bool {
		return text(t, pool, "SELECT string_agg(actor, ',') FROM audit_events WHERE action = 'x'") == "new"
	}, testdb.Patience, 20*time.Millisecond)
	assert.Equal(t, "schedule older than 400 days audit_events 1", text(t, pool,
		"SELECT concat_ws(' ', e->>'actor', e->>'reason', e->'detail'->>'table', e->'detail'->>'rows') FROM (SELECT entry::jsonb AS e FROM audit_chain WHERE kind = 'expire') c"))
}

// The removal of old records whose worker was killed is given to another one, once.
func TestOrphanedRemovalIsRequeued(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	s := newService(t, pool, Config{Retention: Retention{Logs: 1}})
	s.orphanedAfter = 0
	reconcile := func() int {
		t.Helper()
		_, err := s.Reconcile(ctx)
		require.NoError(t, err)
		return count(t, pool, "SELECT count(*) FROM river_job WHERE kind = 'expire'")
	}
	assert.Zero(t, reconcile())
	require.NoError(t, pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error { return s.insertExpire(ctx, tx, date(t, "2024-05-10")) }))
	assert.Equal(t, 1, reconcile(), "it is waiting")
	execute(t, pool, "UPDATE river_job SET state = 'running', attempted_at = now() - interval '1 minute', attempt = 1 WHERE kind = 'expire'")

	loading, err := pool.Begin(ctx)
	require.NoError(t, err)
	_, err = loading.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", summaries.LoadLock)
	require.NoError(t, err)
	removed := make(chan error)
	go func() {
		_, err := s.Expire(ctx)
		removed <- err
	}()
	require.Eventually(t, func() bool {
		return count(t, pool, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid = $1 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())", load.ExpireLockClass) == 1
	}, testdb.Patience, 20*time.Millisecond)
	assert.Equal(t, 1, reconcile(), "it waits for a load")
	require.NoError(t, loading.Rollback(ctx))
	require.NoError(t, <-removed)

	assert.Equal(t, 2, reconcile(), "its worker was killed")
	assert.Equal(t, "2024-05-10", text(t, pool, "SELECT args ->> 'logical_date' FROM river_job WHERE kind = 'expire' ORDER BY id DESC LIMIT 1"))
	execute(t, pool, "UPDATE river_job SET state = 'completed', finalized_at = now() WHERE id = (SELECT max(id) FROM river_job WHERE kind = 'expire')")
	assert.Equal(t, 2, reconcile(), "the other one has done it")
}
