package ledger_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/jobs/ledger"
)

// night is a run with a file of 10 rows: two rejects that a setting decides, one without a
// setting, one conflict; and an alert.
const night = `
	INSERT INTO etl_schedule (last_date, time_zone) VALUES ('2024-02-29', 'UTC');
	INSERT INTO etl_runs (kind, logical_date, requested_by) VALUES ('nightly', '2024-02-29', 'schedule');
	INSERT INTO etl_attempts (run_id, attempt, worker, code_version) VALUES (1, 1, 'a:1', '1.0.0');
	INSERT INTO etl_outcomes (run_id, attempt, status) VALUES (1, 1, 'succeeded');
	INSERT INTO etl_files (run_id, attempt, source, path, bytes, status, read, loaded, duplicate, conflict, rejected, faults, total_amount, hints, rules, code_version, started_at)
	VALUES (1, 1, 'shop', 'a.csv', 1, 'loaded', 10, 5, 1, 1, 3, '{"ambiguous_date": 2, "missing_amount": 1}', 12.50,
	        '{"slash: 2 rows with ambiguous_date, first line 2: 03/04/2024 is either"}', '{}', '1.0.0', now());
	INSERT INTO etl_rejects (file_id, line, outcome, faults, raw, raw_length) VALUES
		(1, 2, 'rejected', '{ambiguous_date}', 'x', 1), (1, 3, 'rejected', '{ambiguous_date,missing_amount}', 'x', 1),
		(1, 4, 'rejected', '{missing_amount}', 'x', 1), (1, 5, 'conflict', '{}', 'x', 1), (1, 6, 'duplicate', '{}', 'x', 1);
	INSERT INTO etl_open_rejects VALUES (1, 0);
	INSERT INTO alerts (cause, subject, what, next_step, run_id, logical_date) VALUES ('file.failed', 'b.csv', 'b.csv: the file is empty', 'Correct it', 1, '2024-02-29')`

func TestTonight(t *testing.T) {
	t.Parallel()
	store, pool := newStore(t, "")
	zone, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	now := time.Date(2024, 2, 29, 23, 30, 0, 0, time.UTC) // the 1st of March in Berlin
	tonight, err := store.Tonight(t.Context(), now, zone)
	require.NoError(t, err)
	assert.Equal(t, ledger.NightNone, tonight.Verdict)
	assert.Equal(t, "2024-02-29 2024-03-01 2024-03-01T23:00:00Z", tonight.Date.String()+" "+tonight.Next.Date.String()+" "+tonight.Next.At.UTC().Format(time.RFC3339))
	assert.Empty(t, tonight.Needs)

	_, err = pool.Exec(t.Context(), night)
	require.NoError(t, err)
	tonight, err = store.Tonight(t.Context(), now, zone)
	require.NoError(t, err)
	assert.Equal(t, ledger.NightLoaded, tonight.Verdict)
	assert.Equal(t, int64(1), tonight.Run.ID)
	c := tonight.Counts
	assert.Equal(t, []int64{1, 0, 10, 5, 1, 1, 3}, []int64{c.Files, c.Failed, c.Read, c.Loaded, c.Duplicate, c.Conflict, c.Rejected})
	assert.Equal(t, "12.5", c.TotalAmount.String())
	var causes, whats, steps []string
	for _, n := range tonight.Needs {
		causes, whats, steps = append(causes, n.Cause), append(whats, n.What), append(steps, n.NextStep)
	}
	assert.Equal(t, []string{"file.failed", "rejects", "rejects", "rejects"}, causes)
	assert.Equal(t, "2 rows of source shop with ambiguous_date: 03/04/2024 is either", whats[1])
	assert.Equal(t, "Set slash for source shop in tally.yaml, then: tally replay --source 'shop' --fault ambiguous_date", steps[1])
	assert.Equal(t, "1 conflict of source shop: their ids are stored with other values", whats[2])

	later, err := store.Tonight(t.Context(), now.AddDate(0, 0, 1), zone)
	require.NoError(t, err)
	assert.Equal(t, ledger.NightMissing, later.Verdict)
}

// What was dealt with is not counted, and a row that was read again counts as what it is now.
func TestOpenGroups(t *testing.T) {
	t.Parallel()
	store, _ := newStore(t, night+`;
		INSERT INTO etl_reject_states (file_id, line, change, state, outcome) VALUES
			(1, 2, 2, 'replayed', 'loaded'), (1, 3, 2, 'open', 'rejected'), (1, 3, 3, 'open', 'conflict'), (1, 5, 3, 'settled', 'duplicate'), (1, 6, 4, 'fixed', 'loaded')`)
	groups, err := store.OpenGroups(t.Context())
	require.NoError(t, err)
	counts := map[string]int64{}
	for _, g := range groups {
		assert.False(t, g.AtMost)
		counts[g.Fault] = g.Rows
	}
	assert.Equal(t, map[string]int64{"missing_amount": 1, "conflict": 1}, counts)
}
