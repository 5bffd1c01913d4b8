package jobs

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/pipeline"
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
	}, patience, 20*time.Millisecond)
	assert.Equal(t, "schedule older than 400 days audit_events 1", text(t, pool,
		"SELECT concat_ws(' ', e->>'actor', e->>'reason', e->'detail'->>'table', e->'detail'->>'rows') FROM (SELECT entry::jsonb AS e FROM audit_chain WHERE kind = 'expire') c"))
}
