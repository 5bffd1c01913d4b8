package load_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/extsort"
	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/migrations"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/extract"
	"github.com/opentax/tally/pipeline/load"
	"github.com/opentax/tally/pipeline/synthetic"
	"github.com/opentax/tally/pipeline/transform"
	"github.com/opentax/tally/summaries"
)

const header = "transaction_id,user_id,amount,transaction_date\n"

// fixture is a database with one run to load files under.
type fixture struct {
	t      *testing.T
	pool   *pgxpool.Pool
	loader *load.Loader
	dir    string
	runID  int64
	rules  transform.Rules
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	pool := testdb.New(t, migrations.Schema{})
	f := &fixture{t: t, pool: pool, loader: load.New(pool, nil), dir: t.TempDir()}
	err := pool.QueryRow(t.Context(), `INSERT INTO etl_runs (kind, logical_date, requested_by)
		VALUES ('manual', '2030-01-01', 'test') RETURNING id`).Scan(&f.runID)
	require.NoError(t, err)
	f.attempt(1)
	return f
}

func (f *fixture) attempt(n int) {
	f.exec(`INSERT INTO etl_attempts (run_id, attempt, worker, code_version) VALUES ($1, $2, 'test', 'test')`, f.runID, n)
}

func (f *fixture) exec(sql string, args ...any) {
	f.t.Helper()
	_, err := f.pool.Exec(f.t.Context(), sql, args...)
	require.NoError(f.t, err)
}

func (f *fixture) write(name, content string) string {
	f.t.Helper()
	path := filepath.Join(f.dir, name)
	require.NoError(f.t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// at is the location that a path or a URL names.
func at(t *testing.T, text string) bucket.Location {
	t.Helper()
	l, err := bucket.Parse(text)
	require.NoError(t, err)
	return l
}

func (f *fixture) request(path string) load.Request {
	return load.Request{RunID: f.runID, Attempt: 1, Source: "test", Path: at(f.t, path), Rules: f.rules,
		LogicalDate: civil.MustParse("2030-01-01"), CodeVersion: "test"}
}

func (f *fixture) load(name, content string) load.Result {
	f.t.Helper()
	return f.loadPath(f.write(name, content))
}

func (f *fixture) loadPath(path string) load.Result {
	f.t.Helper()
	result, err := f.loader.Load(f.t.Context(), f.request(path))
	require.NoError(f.t, err)
	return result
}

func (f *fixture) verify() {
	f.t.Helper()
	v, err := summaries.Verify(f.t.Context(), f.pool, summaries.VerifyOptions{}, func(d summaries.Drift) { f.t.Error(d) })
	require.NoError(f.t, err)
	assert.True(f.t, v.Clean())
}

// one reads one value.
func one[T any](f *fixture, sql string, args ...any) T {
	f.t.Helper()
	var v T
	require.NoError(f.t, f.pool.QueryRow(f.t.Context(), sql, args...).Scan(&v), sql)
	return v
}

func sampleFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join("..", "..", "..", "shared", "data", "assignment.csv")
	if _, err := os.Stat(path); err != nil {
		t.Skip("the sample file is not here:", err)
	}
	return path
}

func TestLoadSampleFile(t *testing.T) {
	t.Parallel()
	path := sampleFile(t)
	f := newFixture(t)

	got := f.loadPath(path)
	assert.Equal(t, load.StatusLoaded, got.Status, got.Error)
	assert.Equal(t, [5]int64{1015, 784, 11, 14, 206}, [5]int64{got.Read, got.Loaded, got.Duplicate, got.Conflict, got.Rejected})
	assert.Equal(t, map[string]int64{"missing_amount": 199, "missing_date": 7}, got.Faults)
	assert.Equal(t, int64(538), got.Users)
	assert.Equal(t, "526098.26", got.TotalAmount.String())
	assert.Equal(t, int64(538), one[int64](f, "SELECT count(*) FROM user_summary"))
	assert.Equal(t, int64(319), one[int64](f, "SELECT count(*) FROM daily_totals"))
	assert.Equal(t, "526098.26", one[string](f, "SELECT trim_scale(sum(total_amount))::text FROM daily_totals"))
	assert.Equal(t, int64(206+11+14), one[int64](f, "SELECT count(*) FROM etl_rejects"))
	f.verify()

	store := summaries.NewStore(f.pool)
	for user, want := range map[int32]struct {
		n              int64
		total, average string
	}{
		1633: {5, "10416.29", "2083.26"}, 1034: {3, "-3685.83", "-1228.61"}, 1175: {4, "1857.15", "464.29"}, 1071: {1, "3403", "3403"},
	} {
		s, err := store.Get(t.Context(), user)
		require.NoError(t, err)
		assert.Equal(t, want.n, s.Transactions, user)
		assert.Equal(t, want.total, s.Total.String(), user)
		assert.Equal(t, want.average, s.Average().String(), user)
	}
	_, err := store.Get(t.Context(), 1999)
	require.ErrorIs(t, err, summaries.ErrNotFound)

	content, err := os.ReadFile(path)
	require.NoError(t, err)
	for _, again := range []string{path, f.write("another name.csv", string(content))} {
		second := f.loadPath(again)
		assert.Equal(t, load.StatusUnchanged, second.Status)
		assert.Equal(t, got.FileID, second.FileID)
	}
	assert.Equal(t, int64(1), one[int64](f, "SELECT count(*) FROM etl_files"))
	f.verify()
}

// Months of the sample file by its own README.
func TestLoadSampleFileDates(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.loadPath(sampleFile(t))
	got := one[string](f, `SELECT string_agg(m || ' ' || n, ' · ' ORDER BY m) FROM (
		SELECT to_char(transaction_date, 'YYYY-MM') AS m, count(*) AS n FROM transactions GROUP BY 1) x`)
	assert.Equal(t, "2024-02 34 · 2024-03 78 · 2024-04 75 · 2024-05 66 · 2024-06 63 · 2024-07 63 · 2024-08 75 · 2024-09 54"+
		" · 2024-10 54 · 2024-11 58 · 2024-12 71 · 2025-01 66 · 2025-02 27", got)
}

// Invariant 1, by hand: no statement gets a second row of an id past the keys,
// and none moves a row without its rollups.
func TestHandWrittenWritesAreRefused(t *testing.T) {
	t.Parallel()
	testdb.SkipOnCluster(t, "distributed tables have no triggers")
	f := newFixture(t)
	f.load("a.csv", header+"T1,7,10.00,2024-01-05\nT2,7,1.00,2024-02-05\n")
	before := one[string](f, stateQuery)
	for name, sql := range map[string]string{
		"insert into the parent":      `INSERT INTO transactions (transaction_id, user_id, amount, transaction_date, file_id, line) VALUES ('T1', 7, 1, '2024-02-09', 1, 1)`,
		"insert into a partition":     `INSERT INTO transactions_2024_02 (transaction_id, user_id, amount, transaction_date, file_id, line) VALUES ('T1', 7, 1, '2024-02-09', 1, 1)`,
		"insert of a new id":          `INSERT INTO transactions (transaction_id, user_id, amount, transaction_date, file_id, line) VALUES ('T9', 7, 1, '2024-02-09', 1, 1)`,
		"copy":                        `INSERT INTO transactions SELECT id + 100, transaction_id, user_id, amount, transaction_date, file_id, line FROM transactions`,
		"update":                      `UPDATE transactions SET amount = amount + 1`,
		"update of a partition":       `UPDATE transactions_2024_01 SET user_id = 8`,
		"update across partitions":    `UPDATE transactions SET transaction_date = '2024-02-05' WHERE transaction_id = 'T1'`,
		"delete":                      `DELETE FROM transactions WHERE transaction_id = 'T1'`,
		"delete from a partition":     `DELETE FROM transactions_2024_01`,
		"truncate":                    `TRUNCATE transactions`,
		"truncate of a partition":     `TRUNCATE transactions_2024_01`,
		"delete of a key":             `DELETE FROM transaction_keys WHERE transaction_id = 'T1'`,
		"insert of a key":             `INSERT INTO transaction_keys VALUES ('T9', 1, '2024-01-01')`,
		"truncate of the keys":        `TRUNCATE transaction_keys`,
		"update of a summary":         `UPDATE user_summary SET total_amount = total_amount + 1`,
		"insert of a summary":         `INSERT INTO user_summary (user_id, total_transactions, total_amount, file_id) VALUES (9, 1, 1, 1)`,
		"update of a month":           `UPDATE user_months SET total_amount = 0`,
		"truncate of the months":      `TRUNCATE user_months`,
		"delete of a day":             `DELETE FROM daily_totals`,
		"truncate of the summaries":   `TRUNCATE user_summary`,
		"a partition made by hand":    `CREATE TABLE p PARTITION OF transactions FOR VALUES FROM ('1999-01-01') TO ('1999-02-01'); INSERT INTO p (transaction_id, user_id, amount, transaction_date, file_id, line) VALUES ('T1', 7, 1, '1999-01-09', 1, 1)`,
		"merge":                       `MERGE INTO user_summary s USING (VALUES (7)) v(u) ON s.user_id = v.u WHEN MATCHED THEN UPDATE SET total_amount = 0`,
		"delete from the ledger":      `DELETE FROM etl_files`,
		"update of the ledger":        `UPDATE etl_files SET loaded = 0`,
		"update of the rejects":       `UPDATE etl_rejects SET raw = ''`,
		"truncate of the audit trail": `TRUNCATE audit_events`,
	} {
		_, err := f.pool.Exec(t.Context(), sql)
		if assert.Error(t, err, name) {
			assert.Equal(t, "23000", postgres.State(err), "%s: %v", name, err)
		}
	}
	assert.Equal(t, before, one[string](f, stateQuery))
	f.verify()
}

// stateQuery is everything that a load moves, as one text, without what is
// counted or timed by the database.
const stateQuery = `SELECT concat_ws(E'\n',
	(SELECT string_agg(concat_ws(' ', transaction_id, user_id, amount, transaction_date, line), E'\n' ORDER BY transaction_id COLLATE "C") FROM transactions),
	(SELECT string_agg(k::text, E'\n' ORDER BY transaction_id) FROM transaction_keys k),
	(SELECT string_agg(concat_ws(' ', user_id, total_transactions, trim_scale(total_amount)), E'\n' ORDER BY user_id) FROM user_summary),
	(SELECT string_agg(concat_ws(' ', user_id, month, total_transactions, trim_scale(total_amount)), E'\n' ORDER BY user_id, month) FROM user_months),
	(SELECT string_agg(concat_ws(' ', transaction_date, total_transactions, trim_scale(total_amount)), E'\n' ORDER BY transaction_date) FROM daily_totals),
	(SELECT string_agg(concat_ws(' ', line, outcome, faults, raw), E'\n' ORDER BY file_id, line) FROM etl_rejects))`

// Invariant 2: a thousand times ten cents is a hundred, and in floats it is not.
func TestSumsAreExact(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var content strings.Builder
	content.WriteString(header)
	float := 0.0
	for i := range 1000 {
		content.WriteString("T" + decimal.NewFromInt(int64(i)).String() + ",7,0.1,2024-01-05\n")
		float += 0.1
	}
	require.NotEqual(t, 100.0, float, "the premise of this test")
	f.load("cents.csv", content.String())
	f.load("more.csv", header+"U1,7,99999999999.9999,2024-01-05\nU2,7,-0.0001,2024-01-06\nU3,8,9999999999998.75,2024-01-05\n")
	assert.Equal(t, "100000000099.9998", one[string](f, "SELECT trim_scale(total_amount)::text FROM user_summary WHERE user_id = 7"))
	assert.Equal(t, "9999999999998.75", one[string](f, "SELECT trim_scale(total_amount)::text FROM user_summary WHERE user_id = 8"))
	f.verify()
}

// A month that was dropped by hand leaves keys without rows. They cost only the rows that
// name them, which load when the keys are gone.
func TestOrphanKeys(t *testing.T) {
	t.Parallel()
	for _, corrections := range []string{"keep", "replace"} {
		t.Run(corrections, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.load("old.csv", header+"OLD1,7,1,2024-01-05\nOLD2,7,2,2024-01-06\nNEW1,7,3,2024-02-05\nNEW2,7,4,2024-02-05\n")
			f.exec("DROP TABLE transactions_2024_01")
			f.rules.Corrections = corrections
			content := header + "T1,7,1,2024-03-05\nOLD2,7,2,2024-01-06\nOLD1,7,1,2024-01-05\nNEW1,7,3,2024-02-05\nNEW2,7,5,2024-02-05\n,7,1,2024-03-05\nT2,7,1,2024-03-05\n"
			got := f.load("a.csv", content)
			require.Equal(t, load.StatusLoaded, got.Status, got.Error)
			replaced := int64(0)
			if corrections == "replace" {
				replaced = 1
			}
			assert.Equal(t, [6]int64{7, 2 + replaced, 1, 1 - replaced, 3, replaced}, [6]int64{got.Read, got.Loaded, got.Duplicate, got.Conflict, got.Rejected, got.Replaced})
			assert.Equal(t, map[string]int64{"orphan_key": 2, "missing_transaction_id": 1}, got.Faults)
			require.Len(t, got.Hints, 1)
			assert.Contains(t, got.Hints[0], "2 rows with orphan_key, first line 3: OLD2 is in transaction_keys, but its row is not in transactions")
			assert.Equal(t, "3 {orphan_key} OLD2 OLD2,7,2,2024-01-06 | 4 {orphan_key} OLD1 OLD1,7,1,2024-01-05", one[string](f,
				"SELECT string_agg(concat_ws(' ', line, faults, transaction_id, kept_file_id, kept_line, raw), ' | ' ORDER BY line) FROM etl_rejects WHERE outcome = 'rejected' AND transaction_id <> ''"))
			hint := one[string](f, "SELECT hints[1] FROM etl_rejects WHERE line = 3")
			assert.Contains(t, hint, "tally verify")
			assert.Contains(t, hint, "tally rebuild")

			assert.Equal(t, load.StatusUnchanged, f.load("a.csv", content).Status)
			ids := f.rejects("rejected")
			assert.Equal(t, counts(3, 0, 0, 0, 3), f.replay(ids...))
			assert.Empty(t, f.states(), "they stay open")
			f.exec(`DO $$ BEGIN PERFORM set_config('tally.writer', 'tally', true); DELETE FROM transaction_keys WHERE transaction_id LIKE 'OLD%'; END $$`)
			if corrections == "keep" {
				assert.Equal(t, counts(3, 2, 0, 0, 1), f.replay(ids...))
				return
			}
			request := f.request(filepath.Join(f.dir, "a.csv"))
			request.Again = true
			again, err := f.loader.Load(t.Context(), request)
			require.NoError(t, err)
			assert.Equal(t, [2]int64{2, 1}, [2]int64{again.Loaded, again.Rejected})
		})
	}
}

// A few rows in each of many new months fail a file, which leaves nothing; a month that
// exists, or that has enough rows, does not count.
func TestNewMonths(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.load("old.csv", header+"OLD,7,1,1990-01-05\n")
	state := func() string {
		return one[string](f, stateQuery) + one[string](f, "SELECT string_agg(inhrelid::regclass::text, ' ') FROM pg_inherits WHERE inhparent = 'transactions'::regclass")
	}
	before := state()
	content := header + months("T", 38, 1)
	got := f.load("a.csv", content)
	assert.Equal(t, load.StatusFailed, got.Status)
	assert.Equal(t, load.CodeNewMonths, got.ErrorCode)
	assert.Equal(t, filepath.Join(f.dir, "a.csv")+": new_months: 37 months that no partition has would get fewer than 100 rows each, more than the limit of 36: "+
		"1990-02, 1990-03, 1990-04, …, 1992-12, 1993-01, 1993-02; the first such row is in line 2 (if their dates are wrong, fix the file, "+
		"or narrow the source's from and to; else load it with tally run --new-months 37, or raise the source's new_months)", got.Error)
	assert.Equal(t, before, state())
	f.verify()

	f.rules.NewMonths = 37
	assert.EqualValues(t, 38, f.load("a.csv", content).Loaded)
	f.rules.NewMonths = 0
	assert.EqualValues(t, 38, f.load("again.csv", header+months("U", 38, 1)).Loaded, "there are partitions now")
	f.verify()
}

// History has many months too, each with many rows.
func TestNewMonthsOfHistory(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	assert.EqualValues(t, 12_000, f.load("a.csv", header+months("T", 120, 100)).Loaded)
	f.verify()
}

// months are rows in each of some months from 1990 on, the last month first.
func months(id string, n, rows int) string {
	var content strings.Builder
	for i := range n * rows {
		month := civil.MustParse("1990-01-01").Month() + civil.Month(n-1-i%n)
		fmt.Fprintf(&content, "%s%d,%d,1.50,%s\n", id, i, 1+i%7, month.First())
	}
	return content.String()
}

// Partitions are found by name or by their bounds, also those created by hand.
func TestMissingPartitions(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	missing := func() string {
		return one[string](f, `SELECT coalesce(string_agg(m::text, ' '), '') FROM tally_missing_partitions(ARRAY['2024-03-07', '2024-01-31', '2024-02-01', '2024-03-01', '1990-05-05']::date[]) m`)
	}
	assert.Equal(t, "1990-05-01 2024-01-01 2024-02-01 2024-03-01", missing())
	assert.EqualValues(t, 2, one[int64](f, "SELECT tally_ensure_partitions(ARRAY['2024-02-09', '2024-02-10', '2024-01-01']::date[])"))
	assert.Zero(t, one[int64](f, "SELECT tally_ensure_partitions(ARRAY['2024-02-09']::date[])"))
	assert.Equal(t, "1990-05-01 2024-03-01", missing())
	f.exec("CREATE TABLE past PARTITION OF transactions FOR VALUES FROM (MINVALUE) TO ('1991-01-01')")
	assert.Equal(t, "2024-03-01", missing())
	f.exec("CREATE TABLE transactions_2024_03 (LIKE transactions)")
	assert.Equal(t, "2024-03-01", missing(), "a table of that name is no partition")
	f.exec("DROP TABLE transactions_2024_03")
	f.exec("CREATE TABLE transactions_2024_03 PARTITION OF transactions FOR VALUES FROM ('2025-01-01') TO ('2025-02-01')")
	assert.Equal(t, "2024-03-01", missing(), "a partition of that name has other dates")
	f.exec("CREATE TABLE spring PARTITION OF transactions FOR VALUES FROM ('2024-03-01') TO ('2024-06-01')")
	assert.Empty(t, missing())
}

// Empty partitions are dropped while no load writes, which may have created one to fill it.
func TestDropEmptyPartitions(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.load("a.csv", header+"T1,7,1,2024-02-05\n")
	f.exec("SELECT tally_ensure_partitions(ARRAY['2024-01-01', '2024-03-01', '2024-04-01']::date[])")
	tx, err := f.pool.Begin(t.Context())
	require.NoError(t, err)
	defer tx.Rollback(t.Context())
	_, err = tx.Exec(t.Context(), "SELECT pg_advisory_xact_lock($1)", summaries.LoadLock)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() {
		_, err := f.pool.Exec(t.Context(), "CALL tally_drop_empty_partitions()")
		done <- err
	}()
	require.Eventually(t, func() bool {
		return one[bool](f, "SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE d.datname = current_database() AND locktype = 'advisory' AND NOT granted)")
	}, testdb.Patience, 10*time.Millisecond)
	partitions := "SELECT string_agg(inhrelid::regclass::text, ' ' ORDER BY 1) FROM pg_inherits WHERE inhparent = 'transactions'::regclass"
	assert.Len(t, strings.Fields(one[string](f, partitions)), 4)
	require.NoError(t, tx.Commit(t.Context()))
	require.NoError(t, <-done)
	assert.Equal(t, "transactions_2024_02", one[string](f, partitions))
	f.verify()
}

// Orphans count toward the reject limit: a file of little else fails, and says what to do.
func TestOrphanKeysOverTheLimit(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.load("old.csv", header+"OLD1,7,1,2024-01-05\nOLD2,7,2,2024-01-06\nNEW1,7,3,2024-02-05\n")
	f.exec("DROP TABLE transactions_2024_01")
	before := one[string](f, stateQuery)
	got := f.load("a.csv", header+"OLD1,7,1,2024-01-05\nNEW1,7,3,2024-02-05\nOLD2,7,2,2024-01-06\n")
	assert.Equal(t, load.StatusFailed, got.Status)
	assert.Equal(t, load.CodeRejectLimit, got.ErrorCode)
	assert.Contains(t, got.Error, "2 of 3 rows rejected")
	assert.Contains(t, got.Error, "tally rebuild")
	assert.Equal(t, [5]int64{3, 0, 0, 0, 2}, [5]int64{got.Read, got.Loaded, got.Duplicate, got.Conflict, got.Rejected})
	assert.Equal(t, before, one[string](f, stateQuery))
}

func TestDuplicatesAndConflictsWithinAFile(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	got := f.load("a.csv", header+
		"T1,7,,2024-01-05\n"+ // 2: rejected, so it wins nothing
		"T1,7,10.00,2024-01-05\n"+ // 3: the first valid row
		"T1,7,$10,2024/01/05\n"+ // 4: the same values in other words
		"T1,8,10.00,2024-01-05\n"+ // 5: another user's money
		"t1,7,10.00,2024-01-05\n") // 6: another id, since case is kept
	assert.Equal(t, [5]int64{5, 2, 1, 1, 1}, [5]int64{got.Read, got.Loaded, got.Duplicate, got.Conflict, got.Rejected})
	assert.Equal(t, "3 t1 6", one[string](f, `SELECT string_agg(line::text, ' t1 ' ORDER BY line) FROM transactions`))
	assert.Equal(t, "2 rejected {missing_amount} T1,7,,2024-01-05;4 duplicate {} T1,7,$10,2024/01/05;5 conflict {} T1,8,10.00,2024-01-05",
		one[string](f, `SELECT string_agg(concat_ws(' ', line, outcome, faults, raw), ';' ORDER BY line) FROM etl_rejects`))
	assert.Equal(t, int64(2), one[int64](f, `SELECT count(*) FROM etl_rejects WHERE kept_file_id = $1 AND kept_line = 3`, got.FileID))
	f.verify()
}

func TestAgainstTheStoredRow(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	first := f.load("a.csv", header+"T1,7,10.00,2024-01-05\nT2,7,20.00,2024-01-06\n")
	second := f.load("b.csv", header+"T1,7,10.00,2024-01-05\nT2,7,20.01,2024-01-06\nT2,7,20.00,2024-01-06\nT3,9,5,2024-03-01\n")
	assert.Equal(t, [5]int64{4, 1, 2, 1, 0}, [5]int64{second.Read, second.Loaded, second.Duplicate, second.Conflict, second.Rejected})
	assert.Equal(t, "20", one[string](f, "SELECT amount::text FROM transactions WHERE transaction_id = 'T2'"))
	assert.Equal(t, first.FileID, one[int64](f, "SELECT DISTINCT kept_file_id FROM etl_rejects WHERE file_id = $1", second.FileID))
	f.verify()

	// Every row is known, so the file moves nothing; it is a new file all the same.
	third := f.load("c.csv", header+"T1,7,10.00,2024-01-05\n")
	assert.Equal(t, [3]int64{1, 0, 1}, [3]int64{third.Read, third.Loaded, third.Duplicate})
	f.verify()
}

func TestCorrectionsReplace(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.load("a.csv", header+"T1,7,10.00,2024-01-05\nT2,7,20.00,2024-01-06\nT3,8,1,2024-01-06\n")
	f.rules.Corrections = transform.CorrectionsReplace
	got := f.load("b.csv", header+
		"T1,7,11.00,2024-01-05\n"+ // another amount
		"T2,7,20.00,2024-01-06\n"+ // the same
		"T3,9,1,2024-02-06\n"+ // another user and month: user 8 has nothing left
		"T3,9,2,2024-02-06\n"+ // in one file the first row still wins
		"T4,7,4,2024-01-05\n")
	assert.Equal(t, [5]int64{5, 3, 1, 1, 0}, [5]int64{got.Read, got.Loaded, got.Duplicate, got.Conflict, got.Rejected})
	assert.Equal(t, int64(2), got.Replaced)
	assert.Equal(t, "7 3 35;9 1 1", one[string](f,
		`SELECT string_agg(concat_ws(' ', user_id, total_transactions, trim_scale(total_amount)), ';' ORDER BY user_id) FROM user_summary`))
	assert.Equal(t, "T1 10;T3 1", one[string](f,
		`SELECT string_agg(concat_ws(' ', transaction_id, amount), ';' ORDER BY transaction_id) FROM transaction_versions`))
	f.verify()
}

func TestAmbiguousDatesOfAFileThatContradictsItself(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	got := f.load("a.csv", header+
		"T1,7,1,03/04/2024\n"+ // could be either, and comes before the proof
		"T2,7,1,27/11/2024\n"+ // day first
		"T3,7,1,05/05/2024\n"+ // the same either way
		"T4,7,1,03-04-2024\n"+ // dashes are not in doubt
		"T5,7,,04/03/2024\n"+
		"T6,7,1,11/27/2024\n"+ // month first
		"T7,7,1,13-04-2024\n")
	assert.Equal(t, [3]int64{7, 5, 2}, [3]int64{got.Read, got.Loaded, got.Rejected})
	assert.Equal(t, map[string]int64{"ambiguous_date": 1, "missing_amount": 1}, got.Faults)
	assert.Equal(t, "T2 2024-11-27;T3 2024-05-05;T4 2024-04-03;T6 2024-11-27;T7 2024-04-13", one[string](f,
		`SELECT string_agg(concat_ws(' ', transaction_id, transaction_date), ';' ORDER BY transaction_id) FROM transactions`))
	assert.Equal(t, "{missing_amount,ambiguous_date}", one[string](f, "SELECT faults::text FROM etl_rejects WHERE line = 6"))
	f.verify()
}

func TestRejectLimit(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	half := header + "T1,7,1,2024-01-05\nT2,7,,2024-01-05\n"
	assert.Equal(t, load.StatusLoaded, f.load("half.csv", half).Status)

	got := f.load("more.csv", header+"T3,7,1,2024-01-05\nT4,7,,2024-01-05\nT5,7,,2024-01-05\n")
	assert.Equal(t, load.StatusFailed, got.Status)
	assert.Equal(t, load.CodeRejectLimit, got.ErrorCode)
	assert.Equal(t, [3]int64{3, 0, 2}, [3]int64{got.Read, got.Loaded, got.Rejected})
	assert.Equal(t, int64(2), one[int64](f, "SELECT count(*) FROM etl_rejects WHERE file_id = $1", got.FileID), "kept to be looked at")
	assert.Equal(t, int64(1), one[int64](f, "SELECT count(*) FROM transactions"))

	many := f.load("many.csv", header+strings.Repeat("T,7,,2024-01-05\n", 3000))
	assert.Equal(t, int64(1502), many.Rejected, "half of the lines, of which the file has at most 3,002, and one")
	assert.Equal(t, int64(1000), one[int64](f, "SELECT count(*) FROM etl_rejects WHERE file_id = $1", many.FileID), "a failed file does not fill the disk")

	f.rules.RejectLimit = "2"
	again := f.loadPath(got.Path)
	assert.Equal(t, load.StatusLoaded, again.Status, "failed content may be loaded under other rules")
	f.verify()
}

func TestBadFilesFailWithTheirReason(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for name, c := range map[string]struct{ content, code string }{
		"empty.csv":    {"", extract.CodeEmptyFile},
		"columns.csv":  {"transaction_id,user_id,amount\nT1,7,1\n", extract.CodeMissingColumn},
		"repeated.csv": {"transaction_id,user_id,amount,Amount,transaction_date\n", extract.CodeRepeatedColumn},
		"mac.csv":      {"transaction_id,user_id,amount,transaction_date,note\rA,1,2,2024-01-01,x\rB,1,2,2024-01-01,y\r\n", extract.CodeBadHeader},
		"cut.csv.gz":   {"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", extract.CodeTruncated},
	} {
		got := f.load(name, c.content)
		assert.Equal(t, load.StatusFailed, got.Status, name)
		assert.Equal(t, c.code, got.ErrorCode, name)
		assert.Contains(t, got.Error, name)
		assert.Equal(t, c.code, one[string](f, "SELECT error_code FROM etl_files WHERE id = $1", got.FileID), name)
		assert.NotEmpty(t, got.SHA256, "%s is known again, also where it cannot be decompressed", name)
	}
	got := f.loadPath(filepath.Join(f.dir, "nowhere.csv"))
	assert.Equal(t, extract.CodeNotFound, got.ErrorCode)
	empty := f.load("header.csv", header)
	assert.Equal(t, load.StatusLoaded, empty.Status, "a night without transactions is no failure")
	assert.Equal(t, int64(0), empty.Read)
	f.verify()
}

// Raw text that PostgreSQL's text cannot hold is kept to the byte.
func TestRejectsKeepTheirBytes(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.rules.RejectLimit = "100%"
	rows := []string{"T1,7,\xff\xfe,2024-01-05", "T2,7,1\x00,2024-01-05", "T3,7,é,2024-01-05"}
	f.load("a.csv", header+strings.Join(rows, "\n")+"\n")
	for i, row := range rows {
		raw := one[[]byte](f, "SELECT coalesce(raw_bytes, convert_to(raw, 'UTF8')) FROM etl_rejects WHERE line = $1", i+2)
		assert.Equal(t, row, string(raw))
	}
}

// Invariant 4: the database itself refuses a ledger entry that loses a row.
func TestLedgerRefusesALostRow(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	insert := `INSERT INTO etl_files (run_id, attempt, source, path, bytes, status, read, loaded, duplicate, conflict, rejected, rules, code_version, started_at)
		VALUES ($1, 1, 's', 'p', 0, 'loaded', $2, 1, 1, 1, 1, '{}', 'v', now())`
	_, err := f.pool.Exec(t.Context(), insert, f.runID, 5)
	assert.Equal(t, "every_row_accounted_for", postgres.Constraint(err))
	_, err = f.pool.Exec(t.Context(), insert, f.runID, 4)
	require.NoError(t, err)
}

// Invariant 3: a load that dies anywhere leaves nothing that others can see.
func TestCancelledLoadLeavesNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var big bytes.Buffer
	require.NoError(t, synthetic.Write(t.Context(), &big, synthetic.File{Rows: 20_000, Users: 500, Seed: 3}))
	path := f.write("big.csv", big.String())
	empty := one[string](f, stateQuery)

	for _, stage := range []string{pipeline.StageRead, pipeline.StageKeys, pipeline.StageWrite} {
		ctx, cancel := context.WithCancel(t.Context())
		req := f.request(path)
		req.Progress = func(p pipeline.Progress) {
			if p.Stage == stage {
				cancel()
			}
		}
		_, err := f.loader.Load(ctx, req)
		require.ErrorIs(t, err, context.Canceled, stage)
		assert.Equal(t, empty, one[string](f, stateQuery), stage)
		assert.Zero(t, one[int64](f, "SELECT count(*) FROM etl_files"), stage)
	}
	got := f.loadPath(path)
	assert.Equal(t, load.StatusLoaded, got.Status)
	assert.Equal(t, int64(20_000), got.Read)
	f.verify()
}

// Invariant 3, fenced: an attempt that was taken for dead must not commit.
func TestOnlyTheLastAttemptCommits(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	path := f.write("a.csv", header+"T1,7,10.00,2024-01-05\n")
	f.attempt(2)
	_, err := f.loader.Load(t.Context(), f.request(path))
	require.ErrorIs(t, err, load.ErrFenced)
	assert.Zero(t, one[int64](f, "SELECT count(*) FROM transactions"))

	req := f.request(path)
	req.Attempt = 2
	got, err := f.loader.Load(t.Context(), req)
	require.NoError(t, err)
	assert.Equal(t, load.StatusLoaded, got.Status)
	f.verify()
}

func TestSameContentLoadedAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	content := header + "T1,7,10.00,2024-01-05\nT2,8,1,2024-02-05\nT3,8,,2024-02-05\n"
	results := make(chan load.Result, 4)
	for i := range cap(results) {
		path := f.write("copy"+string(rune('a'+i))+".csv", content)
		go func() {
			r, err := f.loader.Load(context.WithoutCancel(t.Context()), f.request(path))
			assert.NoError(t, err)
			results <- r
		}()
	}
	statuses := map[string]int{}
	for range cap(results) {
		statuses[(<-results).Status]++
	}
	assert.Equal(t, map[string]int{load.StatusLoaded: 1, load.StatusUnchanged: 3}, statuses)
	assert.Equal(t, int64(2), one[int64](f, "SELECT count(*) FROM transactions"))
	assert.Equal(t, int64(1), one[int64](f, "SELECT count(*) FROM etl_rejects"), "of the file that was loaded only")
	f.verify()
}

// A file that is still being written is read again, and fails by name if it
// never settles.
func TestFileThatChangesWhileItIsRead(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var big bytes.Buffer
	require.NoError(t, synthetic.Write(t.Context(), &big, synthetic.File{Rows: 30_000, Users: 50, Seed: 9}))
	path := f.write("growing.csv", big.String())
	req := f.request(path)
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
			}
			file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			if !assert.NoError(t, err) {
				return
			}
			_, err = file.WriteString("X" + decimal.NewFromInt(int64(n)).String() + ",7,1,2024-01-05\n")
			assert.NoError(t, err)
			assert.NoError(t, file.Close())
		}
	}()
	got, err := f.loader.Load(t.Context(), req)
	close(stop)
	<-done
	require.NoError(t, err)
	assert.Equal(t, extract.CodeFileChanged, got.ErrorCode)
	assert.Zero(t, one[int64](f, "SELECT count(*) FROM transactions"))
	assert.Equal(t, load.StatusLoaded, f.loadPath(path).Status, "the writer is done")
	f.verify()
}

// A month that somebody has covered by a partition of their own is loaded into it,
// and stays guarded.
func TestAPartitionMadeByHandIsUsed(t *testing.T) {
	t.Parallel()
	testdb.SkipOnCluster(t, "distributed tables have no triggers")
	f := newFixture(t)
	f.exec("CREATE TABLE early_2024 PARTITION OF transactions FOR VALUES FROM ('2024-01-01') TO ('2024-03-01')")
	f.load("a.csv", header+"T1,7,10.00,2024-01-05\nT2,7,1.00,2024-02-05\nT3,7,1.00,2024-03-05\n")
	assert.Equal(t, "early_2024,early_2024,transactions_2024_03", one[string](f,
		"SELECT string_agg(tableoid::regclass::text, ',' ORDER BY transaction_id) FROM transactions"))
	f.verify()
	_, err := f.pool.Exec(t.Context(), "DELETE FROM early_2024")
	assert.Equal(t, "23000", postgres.State(err), err)
}

// Invariants 2 and 3, looked at from outside while months are loaded for the first
// time: a single statement never sees rows without their sums, nor sums without
// their rows, and neither does a transaction that keeps its snapshot.
func TestNobodySeesHalfALoad(t *testing.T) {
	t.Parallel()
	testdb.SkipOnCluster(t, "its nodes commit one after the other")
	f := newBulkFixture(t)
	stop := make(chan struct{})
	var looking sync.WaitGroup
	const both = `SELECT (SELECT coalesce(sum(total_amount), 0) FROM user_summary) = (SELECT coalesce(sum(total_amount), 0) FROM user_months)
		AND (SELECT coalesce(sum(total_amount), 0) FROM user_summary) = (SELECT coalesce(sum(amount::numeric), 0) FROM transactions)
		AND (SELECT coalesce(sum(loaded), 0) FROM etl_files) = (SELECT count(*) FROM transactions)
		AND (SELECT count(*) FROM transaction_keys) = (SELECT count(*) FROM transactions)
		AND (SELECT coalesce(sum(duplicate + conflict + rejected), 0) FROM etl_files) = (SELECT count(*) FROM etl_rejects)`
	for _, isolation := range []pgx.TxIsoLevel{pgx.ReadCommitted, pgx.RepeatableRead} {
		looking.Go(func() {
			ctx := context.WithoutCancel(t.Context())
			for looks := 0; ; looks++ {
				select {
				case <-stop:
					assert.Positive(t, looks)
					return
				default:
				}
				err := pgx.BeginTxFunc(ctx, f.pool, pgx.TxOptions{IsoLevel: isolation}, func(tx pgx.Tx) error {
					var same bool
					if _, err := tx.Exec(ctx, "SELECT count(*) FROM user_summary"); err != nil { // takes the snapshot that is kept
						return err
					}
					time.Sleep(time.Duration(looks%7) * time.Millisecond)
					err := tx.QueryRow(ctx, both).Scan(&same)
					assert.True(t, same, isolation)
					return err
				})
				assert.NoError(t, err)
			}
		})
	}
	f.rules.RejectLimit = "100%"
	for i := range 14 {
		rows := 200
		if i > 11 {
			rows = bulkFrom // so many that new months are filled beside the table
		}
		var content strings.Builder
		content.WriteString(header)
		for row := range rows {
			fmt.Fprintf(&content, "T%d-%d,%d,%d.1,20%02d-%02d-05\n", i, row, row%17+1, row, 10+i, row%12+1)
		}
		content.WriteString("bad\n")
		got := f.load(fmt.Sprint(i, ".csv"), content.String())
		assert.Equal(t, int64(rows), got.Loaded, got.Error)
	}
	close(stop)
	looking.Wait()
	f.verify()
}

// More rows than one batch of look-ups, in files that overlap, in any order: the
// counts are those of a plain computation.
func TestOverlappingFiles(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	random := rand.New(rand.NewPCG(3, 4))
	type row struct{ user, amount, day int }
	storedRows := map[int]row{}
	for file := range 4 {
		f.rules.Corrections = ""
		if file == 3 {
			f.rules.Corrections = transform.CorrectionsReplace
		}
		content := header
		first, replaced := map[int]row{}, map[int]bool{}
		var loaded, duplicate, conflict int64
		for range 4_000 {
			id := random.IntN(5_000)
			r := row{random.IntN(50) + 1, random.IntN(3), random.IntN(28) + 1}
			content += fmt.Sprintf("T%05d,%d,%d,2024-%02d-%02d\n", id, r.user, r.amount, id%12+1, r.day)
			kept, again := first[id]
			if old, known := storedRows[id]; !again && known && (file != 3 || old == r) {
				first[id], kept, again = old, old, true
			}
			switch {
			case !again:
				_, replaced[id] = storedRows[id]
				first[id] = r
				loaded++
			case kept == r:
				duplicate++
			default:
				conflict++
			}
		}
		var want int64
		for id := range first {
			if replaced[id] {
				want++
			}
			storedRows[id] = first[id]
		}
		got := f.load(fmt.Sprint(file, ".csv"), content)
		assert.Equal(t, [4]int64{loaded, duplicate, conflict, want}, [4]int64{got.Loaded, got.Duplicate, got.Conflict, got.Replaced}, file)
		f.verify()
	}
	sum := 0
	for _, r := range storedRows {
		sum += r.amount
	}
	assert.Equal(t, int64(sum), one[int64](f, "SELECT sum(total_amount)::bigint FROM user_summary"))
	assert.Equal(t, int64(len(storedRows)), one[int64](f, "SELECT count(*) FROM transactions"))
}

// Months with many rows are filled beside the table and attached in the commit; where
// a reader never lets go of the table, the rows are moved instead. Both end in the
// same database, guarded.
func TestMonthsFilledBesideTheTable(t *testing.T) {
	t.Parallel()
	testdb.SkipOnCluster(t, "it fills no months beside the table")
	content := many(t)
	var states []string
	for _, read := range []bool{false, true} {
		f := newBulkFixture(t)
		path := f.write("a.csv", content)
		f.load("before.csv", header+"T1,7,10.00,2024-05-05\nT2,7,1.00,1999-02-05\n")
		reader, err := f.pool.Begin(t.Context())
		require.NoError(t, err)
		if read {
			_, err = reader.Exec(t.Context(), "SELECT count(*) FROM transactions")
			require.NoError(t, err)
		}
		got := f.loadPath(path)
		require.NoError(t, reader.Rollback(t.Context()))
		assert.Equal(t, load.StatusLoaded, got.Status)
		f.verify()
		states = append(states, one[string](f, stateQuery))
		assert.Equal(t, int64(14), one[int64](f, `SELECT count(*) FROM pg_inherits i JOIN pg_index x ON x.indrelid = i.inhrelid AND x.indisvalid
			WHERE inhparent = 'transactions'::regclass AND inhrelid::regclass::text ~ '^transactions_[0-9]{4}_[0-9]{2}$'`))
		assert.Zero(t, one[int64](f, "SELECT count(*) FROM pg_class WHERE relname LIKE 'tally_load%'"))
		for _, sql := range []string{"DELETE FROM transactions_2024_06", "TRUNCATE transactions_2024_06", "UPDATE transactions SET amount = 0"} {
			_, err = f.pool.Exec(t.Context(), sql)
			assert.Equal(t, "23000", postgres.State(err), sql)
		}
		again := f.load("after.csv", "\n"+content)
		assert.Equal(t, got.Loaded+got.Duplicate+got.Conflict, again.Duplicate+again.Conflict, "every id is known")
		f.verify()
	}
	assert.Equal(t, states[0], states[1])
}

// The keys' index is built after a large first load, unless somebody is reading the
// keys; either way it is there, whole and enforced.
func TestFirstLoadBuildsTheKeys(t *testing.T) {
	t.Parallel()
	testdb.SkipOnCluster(t, "it builds no index of the first keys")
	content := many(t)
	for _, read := range []bool{false, true} {
		f := newBulkFixture(t)
		reader, err := f.pool.Begin(t.Context())
		require.NoError(t, err)
		if read {
			_, err = reader.Exec(t.Context(), "SELECT count(*) FROM transaction_keys")
			require.NoError(t, err)
		}
		got := f.load("a.csv", content)
		require.NoError(t, reader.Rollback(t.Context()))
		assert.Equal(t, got.Loaded, one[int64](f, "SELECT count(*) FROM transaction_keys"))
		assert.Equal(t, "CREATE UNIQUE INDEX transaction_keys_pkey ON public.transaction_keys USING btree (transaction_id)",
			one[string](f, "SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'transaction_keys'::regclass"))
		_, err = f.pool.Exec(t.Context(), `SELECT set_config('tally.writer', 'tally', false); INSERT INTO transaction_keys SELECT * FROM transaction_keys LIMIT 1`,
			pgx.QueryExecModeSimpleProtocol)
		assert.Equal(t, "transaction_keys_pkey", postgres.Constraint(err), err)
		f.pool.Reset() // no other connection may write as Tally
		f.verify()
	}
}

// The text of repeats is read again when the rest has been read: if the file is
// another by then, nothing of it is loaded, and the next try has the new one.
func TestFileThatChangesBeforeItsRepeatsAreRead(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	path := f.write("a.csv", header+"T1,7,10.00,2024-01-05\nT1,7,10.00,2024-01-05\n")
	req := f.request(path)
	var once sync.Once
	req.Progress = func(p pipeline.Progress) {
		if p.Stage == pipeline.StageKeys {
			once.Do(func() { f.write("a.csv", header+"T1,7,10.00,2024-01-05\nT1,8,10.00,2024-01-05\n") })
		}
	}
	got, err := f.loader.Load(t.Context(), req)
	require.NoError(t, err)
	assert.Equal(t, [3]int64{1, 0, 1}, [3]int64{got.Loaded, got.Duplicate, got.Conflict}, got.Error)
	assert.Equal(t, "T1,8,10.00,2024-01-05", one[string](f, "SELECT raw FROM etl_rejects"))
	f.verify()
}

// Invariant 4: what a load does depends neither on the cores nor on how much it
// sorts at once. Not parallel: the number of cores is the process's.
func TestResultDoesNotDependOnCoresOrChunks(t *testing.T) {
	var content bytes.Buffer
	require.NoError(t, synthetic.Write(t.Context(), &content, synthetic.File{Rows: 15_000, Users: 300, Seed: 3}))
	quoted := strings.ReplaceAll(content.String(), ",$", ",\"$") // some rows become malformed on the way
	quoted = strings.ReplaceAll(quoted, ".00,", ".00\",")
	cores := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(cores)
	var states []string
	for i, c := range []struct {
		cores  int
		limits extsort.Limits
	}{{cores: cores}, {cores: 1}, {cores: 7, limits: extsort.Limits{Chunk: 10_000, Memory: 1}}, {cores: 2, limits: extsort.Limits{Chunk: 150_000, Memory: 300_000}}} {
		runtime.GOMAXPROCS(c.cores)
		f := newFixture(t)
		f.loader = f.loader.WithLimits(c.limits)
		f.load("a.csv", content.String())
		f.load("b.csv", quoted)
		f.rules.RejectLimit = "1%"
		require.Contains(t, f.load("c.csv", quoted+"T,1,,\n").Error, "stopped at line ")
		f.verify()
		states = append(states, one[string](f, stateQuery)+one[string](f,
			"SELECT string_agg(concat_ws(' ', id, transaction_id, line), E'\\n' ORDER BY id) FROM transactions")+one[string](f,
			"SELECT string_agg(concat_ws(' ', read, rejected, faults, hints, conventions, replace(error, path, '')), E'\\n' ORDER BY id) FROM etl_files"))
		assert.Equal(t, states[0], states[i])
	}
}
