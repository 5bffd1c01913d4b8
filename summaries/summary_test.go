package summaries_test

import (
	"context"
	"errors"
	"testing"

	"github.com/opentax/tally/internal/civil"

	"github.com/opentax/tally/internal/money"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/migrations"
	"github.com/opentax/tally/summaries"
)

func TestAverageRoundsHalfAwayFromZero(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		total string
		n     int64
		want  string
	}{
		{"10416.29", 5, "2083.26"}, {"0.05", 10, "0.01"}, {"-0.05", 10, "-0.01"}, {"0.0499", 10, "0"},
		{"2", 3, "0.67"}, {"-2", 3, "-0.67"}, {"1", 3, "0.33"}, {"0", 7, "0"}, {"999999999999999999.9999", 1, "1000000000000000000"},
		{"0.015", 3, "0.01"}, {"0.015", 1, "0.02"}, {"1.005", 1, "1.01"}, {"-3685.83", 3, "-1228.61"},
	} {
		s := summaries.Summary{Total: money.MustParse(c.total), Transactions: c.n}
		assert.Equal(t, c.want, s.Average().String(), "%s / %d", c.total, c.n)
	}
}

// written is a database that is filled without the loader, as the loader would.
func written(t *testing.T, statements ...string) *pgxpool.Pool {
	t.Helper()
	pool := testdb.New(t, migrations.Schema{})
	write(t, pool, append(run(), statements...)...)
	return pool
}

// run is the run of the file that rows come from.
func run() []string {
	return []string{
		`INSERT INTO etl_runs (kind, logical_date, requested_by) VALUES ('manual', '2024-01-01', 'test')`,
		`INSERT INTO etl_attempts (run_id, attempt, worker, code_version) VALUES (1, 1, 'test', 'test')`,
	}
}

func write(t *testing.T, pool *pgxpool.Pool, statements ...string) {
	t.Helper()
	require.NoError(t, asTally(t.Context(), pool, statements...))
}

// asTally runs statements in one transaction that may write.
func asTally(ctx context.Context, pool *pgxpool.Pool, statements ...string) error {
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		for _, sql := range append([]string{"SET LOCAL tally.writer = 'tally'"}, statements...) {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return err
			}
		}
		return nil
	})
}

// rows are two users' transactions over three days, whole in every table.
var rows = []string{
	`SELECT tally_ensure_partition('2024-01-01'), tally_ensure_partition('2024-02-01')`,
	`INSERT INTO transactions (transaction_id, user_id, amount, transaction_date, file_id, line) VALUES
		('T1', 7, 0.1, '2024-01-05', 1, 2), ('T2', 7, 0.2, '2024-02-05', 1, 3), ('T3', 8, -5, '2024-01-05', 1, 4), ('T4', 7, 1, '2024-01-05', 1, 5)`,
	`INSERT INTO transaction_keys SELECT transaction_id, user_id, transaction_date FROM transactions`,
	`INSERT INTO user_summary (user_id, total_transactions, total_amount, file_id) VALUES (7, 3, 1.3, 1), (8, 1, -5.00, 1)`,
	`INSERT INTO user_months VALUES (7, '2024-01-01', 2, 1.1), (7, '2024-02-01', 1, 0.2), (8, '2024-01-01', 1, -5)`,
	`INSERT INTO daily_totals (transaction_date, total_transactions, total_amount, file_id) VALUES ('2024-01-05', 3, -3.9, 1), ('2024-02-05', 1, 0.2, 1)`,
	`INSERT INTO etl_files (id, run_id, attempt, source, path, bytes, status, read, loaded, duplicate, conflict, rejected, rules, code_version, started_at)
		VALUES (1, 1, 1, 's', 'p', 0, 'loaded', 4, 4, 0, 0, 0, '{}', 'v', now())`,
}

func drifts(t *testing.T, pool *pgxpool.Pool) []string {
	t.Helper()
	verify := func(o summaries.VerifyOptions) []string {
		found := []string{}
		v, err := summaries.Verify(t.Context(), pool, o, func(d summaries.Drift) { found = append(found, d.String()) })
		require.NoError(t, err)
		assert.Equal(t, int64(len(found)), v.Drifts)
		return found
	}
	found := verify(summaries.VerifyOptions{})
	assert.Equal(t, verify(summaries.VerifyOptions{Full: true}), found, "the sums find what a comparison of each key finds")
	return found
}

// Verify reports every manual change (invariant 2).
func TestVerifyNamesEveryDifference(t *testing.T) {
	t.Parallel()
	require.Empty(t, drifts(t, written(t, rows...)))
	for name, c := range map[string]struct{ sql, want string }{
		"a sum":            {`UPDATE user_summary SET total_amount = 1.31 WHERE user_id = 7`, "user_summary, user_id 7: total_amount is 1.31, recomputed 1.3"},
		"a hair":           {`UPDATE user_summary SET total_amount = 1.30000000000000000001 WHERE user_id = 7`, "user_summary, user_id 7: total_amount is 1.30000000000000000001, recomputed 1.3"},
		"a count":          {`UPDATE user_summary SET total_transactions = 4 WHERE user_id = 7`, "user_summary, user_id 7: total_transactions is 4, recomputed 3"},
		"a month's sum":    {`UPDATE user_months SET total_amount = 1.2 WHERE user_id = 7 AND month = '2024-01-01'`, "user_months, user_id 7 month 2024-01-01: total_amount is 1.2, recomputed 1.1"},
		"a missing month":  {`DELETE FROM user_months WHERE user_id = 8`, "user_months, user_id 8 month 2024-01-01: total_transactions is 0, recomputed 1"},
		"a month too many": {`INSERT INTO user_months VALUES (7, '2024-03-01', 1, 0)`, "user_months, user_id 7 month 2024-03-01: total_transactions is 1, recomputed 0"},
		"a missing user":   {`DELETE FROM user_summary WHERE user_id = 8`, "user_summary, user_id 8: total_transactions is 0, recomputed 1"},
		"a user too many":  {`INSERT INTO user_summary (user_id, total_transactions, total_amount, file_id) VALUES (9, 1, 0, 1)`, "user_summary, user_id 9: total_transactions is 1, recomputed 0"},
		"a day":            {`UPDATE daily_totals SET total_amount = 0 WHERE transaction_date = '2024-02-05'`, "daily_totals, transaction_date 2024-02-05: total_amount is 0, recomputed 0.2"},
		"a lost key":       {`DELETE FROM transaction_keys WHERE transaction_id = 'T3'`, "transaction_keys, transaction_id T3: place is no key, recomputed user 8 on 2024-01-05"},
		"a key too many":   {`INSERT INTO transaction_keys VALUES ('T9', 7, '2024-01-01')`, "transaction_keys, transaction_id T9: place is user 7 on 2024-01-01, recomputed no row"},
		"a wrong key":      {`UPDATE transaction_keys SET user_id = 8 WHERE transaction_id = 'T1'`, "transaction_keys, transaction_id T1: place is user 8 on 2024-01-05, recomputed user 7 on 2024-01-05"},
		"an id twice":      {`INSERT INTO transactions (transaction_id, user_id, amount, transaction_date, file_id, line) VALUES ('T1', 7, 0, '2024-02-09', 1, 9)`, "transactions, transaction_id T1: stored is once, recomputed 2 times"},
		"users exchanged":  {`UPDATE user_summary SET total_amount = CASE user_id WHEN 7 THEN -5 ELSE 1.3 END`, "user_summary, user_id 8: total_amount is 1.3, recomputed -5"},
		"months exchanged": {`UPDATE user_months SET total_amount = CASE month WHEN '2024-01-01' THEN 0.2 ELSE 1.1 END WHERE user_id = 7`, "user_months, user_id 7 month 2024-02-01: total_amount is 1.1, recomputed 0.2"},
		"days exchanged":   {`UPDATE daily_totals SET total_amount = -3.7 - total_amount`, "daily_totals, transaction_date 2024-01-05: total_amount is 0.2, recomputed -3.9"},
		"keys exchanged":   {`UPDATE transaction_keys k SET user_id = 15 - k.user_id WHERE transaction_id IN ('T1', 'T3')`, "transaction_keys, transaction_id T3: place is user 7 on 2024-01-05, recomputed user 8 on 2024-01-05"},
		"no days":          {`DELETE FROM daily_totals`, "daily_totals, transaction_date 2024-02-05: total_transactions is 0, recomputed 1"},
		"a day too many":   {`INSERT INTO daily_totals (transaction_date, total_transactions, total_amount, file_id) VALUES ('infinity', 1, 0, 1)`, "daily_totals, transaction_date infinity: total_transactions is 1, recomputed 0"},
		"NaN and another":  {`UPDATE transactions SET amount = 'NaN' WHERE transaction_id = 'T2'; UPDATE user_summary SET total_amount = CASE user_id WHEN 7 THEN 'NaN'::numeric ELSE 5 END`, "user_summary, user_id 8: total_amount is 5, recomputed -5"},
		"a lost row":       {`DELETE FROM transactions WHERE transaction_id = 'T4'`, "etl_files, file 1: loaded is 4, recomputed 3"},
		"a lost reject": {`INSERT INTO etl_files (run_id, attempt, source, path, bytes, status, read, loaded, duplicate, conflict, rejected, rules, code_version, started_at)
			VALUES (1, 1, 's', 'q', 0, 'loaded', 1, 0, 0, 0, 1, '{}', 'v', now())`, "etl_rejects, file 2: rows kept is 0 duplicate, 0 conflict, 1 rejected, recomputed 0 duplicate, 0 conflict, 0 rejected"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			setval := `SELECT setval('etl_files_id_seq', 1)`
			assert.Contains(t, drifts(t, written(t, append(rows[:len(rows):len(rows)], setval, c.sql)...)), c.want)
		})
	}
}

// Amounts that are no whole units of 0.0001, or too large for 64 bits, are added as they are.
func TestVerifyOfUnusualAmounts(t *testing.T) {
	t.Parallel()
	for _, amount := range []string{"0.1234", "-0.0001", "199999.9999", "-199999.9999", "200000", "999999999999999", "-99999999999.9999", "0.00001", "1e-300", "214748.36480000001", "1e300"} {
		pool := written(t, append(rows[:len(rows):len(rows)],
			`UPDATE transactions SET amount = '`+amount+`' WHERE transaction_id = 'T3'`, `UPDATE user_summary SET total_amount = '`+amount+`'::float::numeric WHERE user_id = 8`,
			`UPDATE user_months SET total_amount = '`+amount+`'::float::numeric WHERE user_id = 8`,
			`UPDATE daily_totals SET total_amount = 1.1 + '`+amount+`'::float::numeric WHERE transaction_date = '2024-01-05'`)...)
		v, err := summaries.Verify(t.Context(), pool, summaries.VerifyOptions{}, func(d summaries.Drift) { t.Error(amount, d) })
		require.NoError(t, err)
		assert.True(t, v.Clean())
		var same int
		for _, c := range []string{"user_summary", "user_months", "daily_totals"} {
			write(t, pool, `UPDATE `+c+` SET total_amount = total_amount + 0.000001`)
			v, err := summaries.Verify(t.Context(), pool, summaries.VerifyOptions{}, func(summaries.Drift) {})
			require.NoError(t, err)
			if v.Clean() {
				same++
			}
		}
		assert.Zero(t, same, amount)
	}
}

// Keys without a row and rows without a key are named by themselves, with the next step.
func TestVerifyNamesLostKeys(t *testing.T) {
	t.Parallel()
	pool := written(t, append(rows[:len(rows):len(rows)],
		`DROP TABLE transactions_2024_02`, `DELETE FROM transaction_keys WHERE transaction_id IN ('T1', 'T4')`)...)
	v, err := summaries.Verify(t.Context(), pool, summaries.VerifyOptions{}, func(summaries.Drift) {})
	require.NoError(t, err)
	assert.Equal(t, "1 (2024-02: 1), first T2", v.OrphanKeys.String())
	assert.Equal(t, "2 (2024-01: 2), first T1, T4", v.RowsWithoutKey.String())
	assert.Equal(t, "tally rebuild", v.NextStep())
	_, err = summaries.Rebuild(t.Context(), pool, summaries.RebuildOptions{})
	require.NoError(t, err)
	found := drifts(t, pool)
	assert.Equal(t, []string{"etl_files, file 1: loaded is 4, recomputed 3"}, found, "the ledger remembers the dropped row")
	v, err = summaries.Verify(t.Context(), pool, summaries.VerifyOptions{}, func(summaries.Drift) {})
	require.NoError(t, err)
	assert.Contains(t, v.NextStep(), "etl_files")
}

func TestRefreshAddsAndRemoves(t *testing.T) {
	t.Parallel()
	pool := written(t, rows...)
	refresh := func(change func(*summaries.Deltas) error, statements ...string) int64 {
		write(t, pool, statements...)
		deltas := summaries.NewDeltas(t.Context())
		defer deltas.Close()
		require.NoError(t, change(deltas))
		var users int64
		err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), "SET LOCAL tally.writer = 'tally'")
			if err == nil {
				users, err = summaries.Refresh(t.Context(), tx, deltas, 2)
			}
			return err
		})
		require.NoError(t, err)
		return users
	}
	onlySummaries := func() []string {
		var found []string
		for _, d := range drifts(t, pool) {
			if d[:9] != "etl_files" {
				found = append(found, d)
			}
		}
		return found
	}
	users := refresh(func(d *summaries.Deltas) error { return d.Add(7, civil.MustParse("2024-01-06"), money.NewSum(3, 1)) },
		`INSERT INTO transactions (transaction_id, user_id, amount, transaction_date, file_id, line) VALUES ('T5', 7, 0.3, '2024-01-06', 2, 2)`,
		`INSERT INTO transaction_keys VALUES ('T5', 7, '2024-01-06')`)
	assert.Equal(t, int64(1), users)
	assert.Empty(t, onlySummaries())

	// T5 is removed, with its day; user 8's only row is removed; T1 changes its amount.
	users = refresh(func(d *summaries.Deltas) error {
		return errors.Join(
			d.Remove(7, civil.MustParse("2024-01-06"), money.NewSum(3, 1)), d.Remove(8, civil.MustParse("2024-01-05"), money.NewSum(-5, 0)),
			d.Remove(7, civil.MustParse("2024-01-05"), money.NewSum(1, 1)), d.Add(7, civil.MustParse("2024-01-05"), money.NewSum(7, 1)),
		)
	},
		`DELETE FROM transactions WHERE transaction_id IN ('T5', 'T3')`, `DELETE FROM transaction_keys WHERE transaction_id IN ('T5', 'T3')`,
		`UPDATE transactions SET amount = 0.7 WHERE transaction_id = 'T1'`)
	assert.Equal(t, int64(1), users)
	assert.Empty(t, onlySummaries())

	store := summaries.NewStore(pool)
	s, err := store.Get(t.Context(), 7)
	require.NoError(t, err)
	assert.Equal(t, "1.9", s.Total.String())
	assert.Equal(t, int64(2), s.FileID)
	assert.Equal(t, int64(3), s.Version, "each change counts")
	_, err = store.Get(t.Context(), 8)
	require.ErrorIs(t, err, summaries.ErrNotFound)
}

func TestPagesOfTransactions(t *testing.T) {
	t.Parallel()
	pool := written(t, append(rows,
		`SELECT tally_ensure_partition('1969-12-01')`,
		`INSERT INTO transactions (transaction_id, user_id, amount, transaction_date, file_id, line) VALUES ('T0', 7, 2, '1969-12-31', 1, 6)`)...)
	store := summaries.NewStore(pool)
	var seen []string
	var after summaries.Cursor
	for range 5 {
		page, err := store.Transactions(t.Context(), 7, after, 2)
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		for _, row := range page {
			seen = append(seen, row.TransactionID+" "+row.Amount.String()+" "+row.Date.String())
			after = row.Cursor()
		}
	}
	assert.Equal(t, []string{"T0 2 1969-12-31", "T1 0.1 2024-01-05", "T4 1 2024-01-05", "T2 0.2 2024-02-05"}, seen)
	none, err := store.Transactions(t.Context(), 999, summaries.Cursor{}, 2)
	require.NoError(t, err)
	assert.Empty(t, none)
}
