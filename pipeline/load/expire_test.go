package load_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/pipeline/load"
	"github.com/opentax/tally/pipeline/seal"
)

func (f *fixture) expire(records string, before time.Time) int64 {
	f.t.Helper()
	n, err := f.loader.Expire(f.t.Context(), records, before, by())
	require.NoError(f.t, err)
	return n
}

func TestExpireRejects(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.rules.RejectLimit = "100%"
	f.load("a.csv", threeMonths)
	f.load("b.csv", header+"A,1,5,2024-01-01\nB,2,9,2024-01-31\n,1,1,2024-01-01\nN,1,1,2024-05-01\n")
	assert.Zero(t, f.expire(load.RejectRecords, time.Now().Add(-time.Hour)))
	boundary := time.Now()
	f.load("c.csv", header+"C,1,8,2024-02-01\n,2,1,2024-01-01\n")
	_, err := f.pool.Exec(t.Context(), "DELETE FROM etl_rejects WHERE file_id = 2")
	require.ErrorContains(t, err, "the audit trail only grows")
	_, err = f.pool.Exec(t.Context(), "DELETE FROM etl_expired_rejects")
	require.ErrorContains(t, err, "the audit trail only grows")

	assert.Equal(t, int64(3), f.expire(load.RejectRecords, boundary))
	assert.Equal(t, int64(2), one[int64](f, "SELECT count(*) FROM etl_rejects"), "those of the later file stay")
	f.sealed()
	assert.Zero(t, f.expire(load.RejectRecords, boundary))
	f.revert(1) // its rows' losers have no text any more
	f.sealed()

	broken := func() string {
		v, err := seal.Verify(t.Context(), f.pool, audit.Head{})
		require.NoError(t, err)
		require.NotNil(t, v.Broken)
		return v.Broken.Reason
	}
	f.exec("ALTER TABLE etl_rejects DISABLE TRIGGER ALL; DELETE FROM etl_rejects WHERE file_id = 3 AND line = 3")
	assert.Contains(t, broken(), "rows of file 3 that were not loaded were changed")
	n, err := f.loader.Expire(t.Context(), load.RejectRecords, time.Now(), by())
	require.ErrorIs(t, err, load.ErrTampered)
	assert.Zero(t, n, "evidence stays")
	f.exec("DELETE FROM etl_rejects WHERE file_id = 3; INSERT INTO etl_expired_rejects VALUES (3, 1, 2)")
	assert.Contains(t, broken(), "rows of file 3 that were not loaded were changed", "what the chain does not have has not expired")
}

func TestExpireRecords(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`INSERT INTO etl_logs (run_id, attempt, at, level, message) SELECT 1, 1, now() - n * interval '1 ms', 'INFO', 'x' FROM generate_series(1, 120000) n`)
	f.exec(`INSERT INTO alerts (cause, subject, what, next_step, logical_date, closed_at) VALUES ('c', 's', '', '', now(), now() - interval '1 day'), ('c', 't', '', '', now(), NULL)`)
	f.exec(`INSERT INTO alert_messages (id, alert_id, state, channel) VALUES ('1', 1, 'open', 'mail'), ('2', 2, 'open', 'mail')`)
	assert.Equal(t, int64(120_000), f.expire(load.LogRecords, time.Now()))
	assert.Equal(t, "50000,50000,20000", one[string](f, "SELECT string_agg(entry::jsonb->'detail'->>'rows', ',' ORDER BY number) FROM audit_chain"))
	assert.Equal(t, int64(1), f.expire(load.AlertRecords, time.Now()))
	assert.Equal(t, "2 2", one[string](f, "SELECT (SELECT string_agg(id::text, ',') FROM alerts) || ' ' || (SELECT string_agg(id, ',') FROM alert_messages)"))
	f.sealed()
	_, err := f.loader.Expire(t.Context(), "transactions", time.Now(), by())
	require.Error(t, err)
}
