package summaries_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/summaries"
)

// broken are changes past Tally that a rebuild repairs.
var broken = map[string]string{
	"a sum":           `UPDATE user_summary SET total_amount = 1.31 WHERE user_id = 7`,
	"a count":         `UPDATE user_summary SET total_transactions = 4 WHERE user_id = 7`,
	"a missing user":  `DELETE FROM user_summary WHERE user_id = 8`,
	"a user too many": `INSERT INTO user_summary (user_id, total_transactions, total_amount, file_id) VALUES (9, 1, 0, 1)`,
	"no months":       `TRUNCATE user_months`,
	"a wrong month":   `UPDATE user_months SET total_amount = 1.2 WHERE user_id = 7 AND month = '2024-01-01'`,
	"no days":         `DELETE FROM daily_totals`,
	"no summaries":    `TRUNCATE user_summary`,
	"a lost key":      `DELETE FROM transaction_keys WHERE transaction_id = 'T3'`,
	"a key too many":  `INSERT INTO transaction_keys VALUES ('T9', 7, '2024-01-01')`,
	"a wrong key":     `UPDATE transaction_keys SET user_id = 8 WHERE transaction_id = 'T1'`,
	"no keys":         `TRUNCATE transaction_keys`,
	"another user":    `UPDATE transactions SET user_id = 9 WHERE transaction_id = 'T2'`,
	"everything":      `TRUNCATE user_summary, user_months, daily_totals, transaction_keys`,
}

func TestRebuild(t *testing.T) {
	t.Parallel()
	for name, sql := range broken {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name == "another user" {
				testdb.SkipOnCluster(t, "the row would move to another shard")
			}
			pool := written(t, append(rows[:len(rows):len(rows)], sql)...)
			require.NotEmpty(t, drifts(t, pool))
			_, err := summaries.Rebuild(t.Context(), pool, summaries.RebuildOptions{})
			require.NoError(t, err)
			assert.Empty(t, drifts(t, pool))
			again, err := summaries.Rebuild(t.Context(), pool, summaries.RebuildOptions{})
			require.NoError(t, err)
			assert.Zero(t, again.Changed(), "nothing is left to do")
		})
	}
}

// Only the tables that are named are rebuilt.
func TestRebuildOfOneTable(t *testing.T) {
	t.Parallel()
	pool := written(t, append(rows[:len(rows):len(rows)], broken["everything"])...)
	built, err := summaries.Rebuild(t.Context(), pool, summaries.RebuildOptions{Tables: []string{"daily_totals"}})
	require.NoError(t, err)
	assert.Equal(t, []summaries.RebuiltTable{{Table: "daily_totals", Stored: 2}}, built.Tables)
	_, err = summaries.Rebuild(t.Context(), pool, summaries.RebuildOptions{Tables: []string{"weekly"}})
	require.ErrorContains(t, err, `there is no rollup "weekly": there are keys, user_months, daily_totals, user_summary`)
}

// A row that would be the second one of an id is reported and not guessed.
func TestRebuildReportsSecondRows(t *testing.T) {
	t.Parallel()
	insert := `INSERT INTO transactions (transaction_id, user_id, amount, transaction_date, file_id, line) VALUES ('T1', 7, 0, '2024-02-09', 1, 9)`
	for name, statements := range map[string][]string{
		"beside the row of the key": {insert},
		"without a key":             {insert, `DELETE FROM transaction_keys WHERE transaction_id = 'T1'`},
		"with an orphan key":        {insert, `UPDATE transaction_keys SET user_id = 99 WHERE transaction_id = 'T1'`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := written(t, append(rows[:len(rows):len(rows)], statements...)...)
			before := keys(t, pool)
			built, err := summaries.Rebuild(t.Context(), pool, summaries.RebuildOptions{Tables: []string{summaries.Keys}})
			require.NoError(t, err)
			assert.Equal(t, []string{"T1"}, built.SecondRowIDs)
			assert.Equal(t, int64(1), built.SecondRows)
			assert.Equal(t, before, keys(t, pool))
		})
	}
}

func keys(t *testing.T, pool *pgxpool.Pool) string {
	t.Helper()
	var all string
	require.NoError(t, pool.QueryRow(t.Context(), "SELECT string_agg(k::text, ' ' ORDER BY transaction_id) FROM transaction_keys k").Scan(&all))
	return all
}

// What a client or an export has seen is recognized as changed: the versions move, also those
// of rows that stand for a rollup without versions.
func TestRebuildChangesVersions(t *testing.T) {
	t.Parallel()
	pool := written(t, append(rows[:len(rows):len(rows)], broken["a wrong month"])...)
	epoch := func() (n int64) {
		require.NoError(t, pool.QueryRow(t.Context(), "SELECT epoch FROM summary_epoch").Scan(&n))
		return n
	}
	before := epoch()
	_, err := summaries.Rebuild(t.Context(), pool, summaries.RebuildOptions{Tables: []string{"user_months"}})
	require.NoError(t, err)
	assert.Equal(t, before+1, epoch(), "the caches are notified")
	var users, days string
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT
		(SELECT string_agg(user_id || ':' || version, ' ' ORDER BY user_id) FROM user_summary WHERE updated_at > now() - interval '1 hour'),
		(SELECT string_agg(transaction_date || ':' || version, ' ' ORDER BY transaction_date) FROM daily_totals)`).Scan(&users, &days))
	assert.Equal(t, "7:2 8:1", users)
	assert.Equal(t, "2024-01-05:2 2024-02-05:1", days, "of the month")

	before = epoch()
	_, err = summaries.Rebuild(t.Context(), pool, summaries.RebuildOptions{})
	require.NoError(t, err)
	assert.Equal(t, before, epoch(), "nothing has changed")
}

// While a rebuild waits for its turn, loads change the very keys that it has found missing, and
// leave no trace in the rollups. It stores what is true at the moment of its commit.
func TestRebuildIncludesLoadsSinceItsComparison(t *testing.T) {
	t.Parallel()
	pool := written(t, append(rows[:len(rows):len(rows)],
		`DELETE FROM user_summary WHERE user_id = 7`, `DELETE FROM user_months WHERE user_id = 7`, `DELETE FROM daily_totals WHERE transaction_date = '2024-01-05'`)...)
	loading, err := pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = loading.Exec(t.Context(), "SELECT pg_advisory_xact_lock($1)", summaries.LoadLock)
	require.NoError(t, err)
	var rebuilding sync.WaitGroup
	rebuilding.Go(func() {
		_, err := summaries.Rebuild(context.WithoutCancel(t.Context()), pool, summaries.RebuildOptions{})
		assert.NoError(t, err)
	})
	awaitLoadLock(t, pool, 1)
	for _, sql := range []string{
		"SET LOCAL tally.writer = 'tally'",
		"LOCK TABLE transactions, transaction_keys, user_summary, user_months, daily_totals IN ACCESS EXCLUSIVE MODE", // the rebuild holds none
		"DELETE FROM transactions WHERE transaction_id = 'T1'",
		"DELETE FROM transaction_keys WHERE transaction_id = 'T1'",
		"INSERT INTO transactions (transaction_id, user_id, amount, transaction_date, file_id, line) VALUES ('T5', 8, 0.3, '2024-01-06', 1, 2)",
		"INSERT INTO transaction_keys VALUES ('T5', 8, '2024-01-06')",
	} {
		_, err = loading.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	deltas := summaries.NewDeltas(t.Context())
	defer deltas.Close()
	require.NoError(t, deltas.Remove(7, civil.MustParse("2024-01-05"), money.NewSum(1, 1)))
	require.NoError(t, deltas.Add(8, civil.MustParse("2024-01-06"), money.NewSum(3, 1)))
	_, err = summaries.Refresh(t.Context(), loading, deltas, 1)
	require.NoError(t, err)
	require.NoError(t, loading.Commit(t.Context()))
	rebuilding.Wait()
	assert.Empty(t, drifts(t, pool))
}

// awaitLoadLock waits until so many sessions wait for an advisory lock.
func awaitLoadLock(t *testing.T, pool *pgxpool.Pool, sessions int) {
	t.Helper()
	const waiting = `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`
	require.Eventually(t, func() bool {
		var found int
		err := pool.QueryRow(t.Context(), waiting).Scan(&found)
		return err == nil && found >= sessions
	}, testdb.Patience, 10*time.Millisecond)
}

// Rollups that were lost return in parts, and loads take their turn in between. It makes no
// difference whether the keys that they change are stored already.
func TestRebuildOfLostRollupsLetsLoadsIn(t *testing.T) {
	t.Parallel()
	testdb.SkipOnCluster(t, "a rebuild excludes loads there")
	const without = `DELETE FROM %s WHERE transaction_id IN ('T500', 'T10500')`
	for name, load := range map[string]struct {
		statements []string
		removed    []int32 // users
	}{
		"that add rows":    {[]string{`INSERT INTO audit_chain (number, at, kind, file_id, entry, hash) VALUES (1, now(), 'load', 1, '{"rows":3}', sha256(''))`}, nil},
		"that remove rows": {[]string{fmt.Sprintf(without, "transactions"), fmt.Sprintf(without, "transaction_keys")}, []int32{500, 10_500}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := context.WithoutCancel(t.Context())
			pool := written(t, `SELECT tally_ensure_partition('2024-01-01')`,
				`INSERT INTO transactions (transaction_id, user_id, amount, transaction_date, file_id, line) SELECT 'T' || n, n, 1, '2024-01-05', 1, n FROM generate_series(1, 11000) n`,
				`INSERT INTO transaction_keys SELECT transaction_id, user_id, transaction_date FROM transactions`,
				`INSERT INTO user_summary (user_id, total_transactions, total_amount, file_id) VALUES (1, 1, 1, 1)`,
				`INSERT INTO daily_totals (transaction_date, total_transactions, total_amount, file_id) VALUES ('2024-01-05', 11000, 11000, 1)`,
				fmt.Sprintf(`INSERT INTO etl_files (id, run_id, attempt, source, path, bytes, status, read, loaded, duplicate, conflict, rejected, rules, code_version, started_at)
					VALUES (1, 1, 1, 's', 'p', 0, 'loaded', %[1]d, %[1]d, 0, 0, 0, '{}', 'v', now())`, 11_003-len(load.removed)))
			lock := func() pgx.Tx {
				tx, err := pool.Begin(ctx)
				require.NoError(t, err)
				_, err = tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", summaries.LoadLock)
				require.NoError(t, err)
				return tx
			}
			first := lock()
			var working sync.WaitGroup
			working.Go(func() {
				built, err := summaries.Rebuild(ctx, pool, summaries.RebuildOptions{})
				assert.NoError(t, err)
				assert.Contains(t, built.Tables, summaries.RebuiltTable{Table: "user_summary", Stored: 10_999 - int64(len(load.removed))})
			})
			awaitLoadLock(t, pool, 1)
			working.Go(func() {
				loading := lock()
				var stored int
				assert.NoError(t, loading.QueryRow(ctx, "SELECT count(*) FROM user_months").Scan(&stored))
				assert.Equal(t, 10_000, stored)
				deltas, day := summaries.NewDeltas(ctx), civil.MustParse("2024-01-05")
				defer deltas.Close()
				statements := append([]string{"SET LOCAL tally.writer = 'tally'"}, load.statements...)
				for _, user := range []int32{1, 10_999, 11_001} {
					statements = append(statements,
						fmt.Sprintf(`INSERT INTO transactions (transaction_id, user_id, amount, transaction_date, file_id, line) VALUES ('N%[1]d', %[1]d, 0.3, '2024-01-05', 1, 2)`, user),
						fmt.Sprintf(`INSERT INTO transaction_keys VALUES ('N%[1]d', %[1]d, '2024-01-05')`, user))
					assert.NoError(t, deltas.Add(user, day, money.NewSum(3, 1)))
				}
				for _, user := range load.removed {
					assert.NoError(t, deltas.Remove(user, day, money.NewSum(1, 0)))
				}
				for _, sql := range statements {
					_, err := loading.Exec(ctx, sql)
					assert.NoError(t, err)
				}
				_, err := summaries.Refresh(ctx, loading, deltas, 1)
				assert.NoError(t, err)
				assert.NoError(t, loading.Commit(ctx))
			})
			awaitLoadLock(t, pool, 2)
			require.NoError(t, first.Rollback(ctx))
			working.Wait()
			assert.Empty(t, drifts(t, pool))
		})
	}
}

// A rebuild that is killed leaves everything as it was; another one can be made.
func TestKilledRebuild(t *testing.T) {
	t.Parallel()
	pool := written(t, append(rows[:len(rows):len(rows)], broken["everything"])...)
	before := drifts(t, pool)
	_, err := summaries.Rebuild(t.Context(), pool, summaries.RebuildOptions{Record: func(ctx context.Context, tx pgx.Tx, r summaries.Rebuilt) error {
		assert.NotZero(t, r.Changed())
		_, err := tx.Exec(ctx, "SELECT pg_terminate_backend(pg_backend_pid())")
		return err
	}})
	require.Error(t, err)
	assert.Equal(t, before, drifts(t, pool))
	_, err = summaries.Rebuild(t.Context(), pool, summaries.RebuildOptions{})
	require.NoError(t, err)
	assert.Empty(t, drifts(t, pool))
}

// Readers see the old or the new state of all tables, and wait for none.
func TestReadersBesideARebuild(t *testing.T) {
	t.Parallel()
	pool := written(t, append(rows[:len(rows):len(rows)], broken["everything"])...)
	const state = `SELECT concat_ws(' ', (SELECT count(*) FROM user_summary), (SELECT count(*) FROM user_months),
		(SELECT count(*) FROM daily_totals), (SELECT count(*) FROM transaction_keys), (SELECT epoch FROM summary_epoch))`
	read := func() (s string) {
		ctx, cancel := context.WithTimeout(t.Context(), testdb.Patience)
		defer cancel()
		require.NoError(t, pool.QueryRow(ctx, state).Scan(&s))
		return s
	}
	before := read()
	_, err := summaries.Rebuild(t.Context(), pool, summaries.RebuildOptions{Record: func(context.Context, pgx.Tx, summaries.Rebuilt) error {
		assert.Equal(t, before, read(), "everything is written")
		return nil
	}})
	require.NoError(t, err)
	want := "2 3 2 4 3"
	if testdb.OnCluster() {
		want = "2 3 2 4 2" // no trigger counts the changes by hand
	}
	assert.Equal(t, want, read())
}
