package ledger_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/migrations"
)

func newStore(t *testing.T, script string) (*ledger.Store, *pgxpool.Pool) {
	t.Helper()
	pool := testdb.New(t, migrations.Schema{})
	_, err := pool.Exec(context.Background(), script)
	require.NoError(t, err)
	return ledger.NewStore(pool), pool
}

// A page of the API is read with one row more, which shows that there is another.
func TestLargestPageShowsTheNext(t *testing.T) {
	t.Parallel()
	store, _ := newStore(t, `INSERT INTO etl_runs (kind, logical_date, requested_by)
		SELECT 'nightly', date '2020-01-01' + n, 'schedule' FROM generate_series(1, 1100) n`)
	const largest = 1000
	for limit, want := range map[int]int{1: 1, largest: largest, largest + 1: largest + 1, largest + 2: ledger.MaxPage, 0: ledger.MaxPage, -1: ledger.MaxPage} {
		runs, err := store.Runs(t.Context(), 0, limit)
		require.NoError(t, err)
		assert.Len(t, runs, want, limit)
	}
}

// Lists are never nil, since JSON has no null for them, and NULL is left out.
func TestDueRun(t *testing.T) {
	t.Parallel()
	store, _ := newStore(t, `INSERT INTO etl_runs (kind, logical_date, requested_by, created_at) VALUES ('nightly', '2024-02-29', 'schedule', '2024-03-01 01:00+01')`)
	run, err := store.Run(t.Context(), 1)
	require.NoError(t, err)
	assert.Same(t, time.UTC, run.CreatedAt.Location(), "whatever the zone of the process")
	day := run.LogicalDate
	assert.Equal(t, ledger.Run{ID: 1, Kind: "nightly", LogicalDate: day, RequestedBy: "schedule", Paths: []string{},
		CreatedAt: time.Date(2024, 3, 1, 0, 0, 0, 0, time.UTC), Status: ledger.StatusDue}, run)
	assert.Equal(t, "2024-02-29", day.String())

	_, err = store.Run(t.Context(), 2)
	require.ErrorIs(t, err, ledger.ErrRunNotFound)
	runs, err := store.Runs(t.Context(), 1, 10)
	require.NoError(t, err)
	assert.Equal(t, []ledger.Run{}, runs)
}

// Log lines hold whatever was in a file; Bun writes them into the statement's text.
func TestLogLinesAreUnchanged(t *testing.T) {
	t.Parallel()
	store, pool := newStore(t, "")
	lines := []ledger.LogLine{
		{RunID: 1, Attempt: 1, At: time.Now(), Level: "INFO", Message: `'; DROP TABLE etl_logs; -- \' ? ?0 $1 "`, Attrs: []byte(`{"a":"'\\' ? $1"}`)},
		{RunID: 1, Attempt: 2, At: time.Now(), Level: "WARN", Message: "e\u0301\u2028\\", Attrs: []byte(`{}`)},
	}
	require.NoError(t, store.AddLogs(t.Context(), lines))
	read, err := store.Logs(t.Context(), 1, 0, 0)
	require.NoError(t, err)
	require.Len(t, read, len(lines))
	for i, l := range read {
		assert.Equal(t, []any{lines[i].Attempt, lines[i].Level, lines[i].Message}, []any{l.Attempt, l.Level, l.Message})
		assert.JSONEq(t, string(lines[i].Attrs), string(l.Attrs))
		assert.WithinDuration(t, lines[i].At, l.At, time.Millisecond)
	}
	var setting string
	require.NoError(t, pool.QueryRow(t.Context(), "SHOW standard_conforming_strings").Scan(&setting))
	assert.Equal(t, "on", setting, "by which Bun quotes")
}

// Sources come with the settings of their last file, and with what their files have
// proven; the currency is the database's, and so is in all of them.
func TestSources(t *testing.T) {
	t.Parallel()
	store, _ := newStore(t, `
		INSERT INTO etl_runs (kind, logical_date, requested_by) VALUES ('manual', '2024-01-01', 'test');
		INSERT INTO etl_attempts (run_id, attempt, worker, code_version) VALUES (1, 1, 'test', 'test');
		INSERT INTO etl_files (run_id, attempt, source, path, bytes, status, read, loaded, duplicate, conflict, rejected, rules, code_version, started_at)
		SELECT 1, 1, source, path, 1, 'loaded', 0, 0, 0, 0, 0, rules::jsonb, 'test', now() FROM (VALUES
			('shop', 'a.csv', '{"slash": "dmy"}'), ('bank', 'b.csv', '{}'), ('shop', 'c.csv', '{"slash": "mdy"}')) f (source, path, rules);
		INSERT INTO etl_conventions VALUES ('shop', 'dash', 'dmy', 1, 7), ('', 'currency', '€', 2, 3), ('gone', 'dot', 'dmy', 9, 1);`)
	sources, err := store.Sources(t.Context())
	require.NoError(t, err)
	require.Len(t, sources, 2)
	bank, shop := sources[0], sources[1]
	assert.Equal(t, "bank b.csv 2", fmt.Sprint(bank.Name, " ", bank.LastPath, " ", bank.LastFileID))
	assert.JSONEq(t, `{"slash": "mdy"}`, string(shop.Settings))
	euro := ledger.Convention{Convention: "currency", Value: "€", FileID: 2, Path: "b.csv", Line: 3}
	assert.Equal(t, []ledger.Convention{euro}, bank.Conventions)
	assert.Equal(t, []ledger.Convention{euro, {Source: "shop", Convention: "dash", Value: "dmy", FileID: 1, Path: "a.csv", Line: 7}}, shop.Conventions)
}

// Open alerts come first, each part newest first, in pages.
func TestAlerts(t *testing.T) {
	t.Parallel()
	store, _ := newStore(t, `
		INSERT INTO alerts (cause, subject, what, next_step, logical_date, closed_at)
		SELECT 'run.failed', 'run ' || n, 'x', 'y', '2024-01-01', CASE WHEN n % 2 = 0 THEN now() END FROM generate_series(1, 7) n`)
	var ids []int64
	for open, last := true, int64(0); ; {
		page, err := store.Alerts(t.Context(), open, last, 2)
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		for _, a := range page {
			ids, open, last = append(ids, a.ID), a.Open(), a.ID
		}
	}
	assert.Equal(t, []int64{7, 5, 3, 1, 6, 4, 2}, ids)
	one, err := store.Alert(t.Context(), 2)
	require.NoError(t, err)
	assert.Equal(t, []any{"run 2", false, int64(0), ""}, []any{one.Subject, one.Open(), one.RunID, one.Path})
	_, err = store.Alert(t.Context(), 8)
	require.ErrorIs(t, err, ledger.ErrAlertNotFound)
}
