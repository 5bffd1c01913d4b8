package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/internal/report"
	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/migrations"
	"github.com/opentax/tally/pipeline/load"
	"github.com/opentax/tally/pipeline/synthetic"
	"github.com/opentax/tally/pipeline/transform"
	"github.com/opentax/tally/summaries"
)

var updateSchema = flag.Bool("update-schema", false, "write internal/report/schema.txt anew")

// The report knows every index that migrations make, partitions' and River's left out:
// the primary keys of rollups from their registry.
func TestReportKnowsTheSchema(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t, migrations.Schema{})
	rows, err := pool.Query(t.Context(), `SELECT concat_ws(E'\t', t.relname, c.relname, pg_get_indexdef(c.oid)) FROM pg_index x
		JOIN pg_class c ON c.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
		WHERE t.relnamespace = current_schema()::regnamespace AND NOT c.relispartition AND t.relname !~ '^(river|bun)_'
		ORDER BY t.relname, c.relname`)
	require.NoError(t, err)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	for _, r := range rollups() {
		name := r.Table + "_pkey"
		key := fmt.Sprintf("%s\t%s\tCREATE UNIQUE INDEX %s ON public.%s USING btree (%s)", r.Table, name, name, r.Table, strings.Join(r.Keys, ", "))
		assert.Contains(t, lines, key, "the registry says so")
		lines = slices.DeleteFunc(lines, func(line string) bool { return line == key })
	}
	want := strings.Join(lines, "\n") + "\n"
	const path = "../../internal/report/schema.txt"
	if *updateSchema {
		require.NoError(t, os.WriteFile(path, []byte(want), 0o600))
	}
	have, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, want, string(have), "write it with: go test ./cmd/tally -run TestReportKnows -update-schema")
}

// reported is a database of its own on a server with PostgreSQL's defaults, which the
// report has nothing to say against.
type reported struct {
	pool   *pgxpool.Pool
	config report.Config
}

func newReported(t *testing.T, settings map[string]string) *reported {
	t.Helper()
	all := map[string]string{"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "autovacuum_naptime": "1d"}
	for name, value := range settings {
		all[name] = value
	}
	pool, err := postgres.Open(t.Context(), postgres.Config{URL: testdb.Own(t, all).URL()})
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	_, err = migrations.Up(t.Context(), pool)
	require.NoError(t, err)
	return &reported{pool: pool, config: report.Config{
		Pool: pool, Queries: queries, Rollups: rollups(), Machine: report.Machine{Memory: 8 << 30, CPUs: 2, FreeDisk: 1 << 30}, Version: "test",
	}}
}

func (r *reported) exec(t *testing.T, sql string) {
	t.Helper()
	_, err := r.pool.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err, sql)
}

func (r *reported) write(t *testing.T, sql string) {
	t.Helper()
	r.exec(t, "SELECT pg_stat_force_next_flush(); BEGIN; SET LOCAL tally.writer = 'tally'; "+sql+"; COMMIT")
}

// load loads a generated file, as on a night.
func (r *reported) load(t *testing.T, rows int64, seed uint64) {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "night.csv"))
	require.NoError(t, err)
	require.NoError(t, synthetic.Write(t.Context(), file, synthetic.File{Rows: rows, Users: int(rows / 10), Seed: seed}))
	require.NoError(t, file.Close())
	r.loadFile(t, file.Name())
}

func (r *reported) loadFile(t *testing.T, path string) {
	t.Helper()
	r.loadBy(t, transform.Rules{}, path)
}

func (r *reported) loadBy(t *testing.T, rules transform.Rules, path string) {
	t.Helper()
	var run int64
	require.NoError(t, r.pool.QueryRow(t.Context(), "INSERT INTO etl_runs (kind, logical_date, requested_by) VALUES ('manual', '2024-01-01', 'test') RETURNING id").Scan(&run))
	_, err := r.pool.Exec(t.Context(), "INSERT INTO etl_attempts (run_id, attempt, worker, code_version) VALUES ($1, 1, 'test', 'test')", run)
	require.NoError(t, err)
	loaded, err := load.New(r.pool, nil).Load(t.Context(), load.Request{RunID: run, Attempt: 1, Source: "test", Path: bucket.Path(path), CodeVersion: "test", Rules: rules})
	require.NoError(t, err)
	require.Equal(t, load.StatusLoaded, loaded.Status, loaded.Error)
}

func (r *reported) make(t *testing.T) *report.Report {
	t.Helper()
	made, err := report.Make(t.Context(), r.config)
	require.NoError(t, err)
	for _, skipped := range made.Skipped { // an upsert cannot be planned without its key
		if !strings.Contains(skipped.Why, "ON CONFLICT") {
			assert.Contains(t, []string{"slow statements", "how full indexes are"}, skipped.What, skipped.Why)
		}
	}
	return made
}

func ids(findings []report.Finding) (all []string) {
	for _, f := range findings {
		all = append(all, f.ID)
	}
	return all
}

func TestReportOfAnEmptyDatabase(t *testing.T) {
	t.Parallel()
	r := newReported(t, nil)
	made := r.make(t)
	assert.Equal(t, []string{"nothing-loaded"}, ids(made.Findings), "%+v", made.Findings)
	assert.True(t, made.Empty)
	assert.NotEmpty(t, made.Queries)
	for _, q := range made.Queries {
		assert.Empty(t, q.Skipped, q.Name)
		assert.NotEmpty(t, q.Plan, q.Name)
	}
	var page, text bytes.Buffer
	require.NoError(t, report.WriteHTML(&page, made))
	require.NoError(t, report.WriteMarkdown(&text, made))
	assert.Contains(t, text.String(), "Nothing has been loaded yet")
}

// Each fault is the first thing that the report says, with the SQL that fixes it, and
// nothing is reported once the fault is fixed.
func TestReportFindsFaults(t *testing.T) {
	t.Parallel()
	r := newReported(t, nil)
	r.load(t, 250_000, 1)
	r.exec(t, "VACUUM (ANALYZE)")
	require.Empty(t, r.make(t).Findings, "of a healthy database")
	for _, f := range plantedFaults() {
		t.Run(f.id+" "+f.subject, func(t *testing.T) {
			f.plant(t, r)
			made := r.make(t)
			f.repair(t, r)
			require.NotEmpty(t, made.Findings)
			first := made.Findings[0]
			assert.Equal(t, f.id, first.ID, "first of %v", ids(made.Findings))
			assert.Equal(t, f.subject, first.Subject)
			assert.Equal(t, f.severity, first.Severity)
			assert.Contains(t, first.Fix, f.fix)
			assert.Contains(t, first.Title+first.Cost+strings.Join(first.Evidence, " "), f.says)
		})
	}
	assert.Empty(t, r.make(t).Findings, "when all is fixed")
}

type plantedFault struct {
	id, subject   string
	severity      report.Severity
	says, fix     string
	plant, repair func(t *testing.T, r *reported)
}

func sql(text string) func(*testing.T, *reported) {
	return func(t *testing.T, r *reported) { t.Helper(); r.exec(t, text) }
}

func asWriter(text string) func(*testing.T, *reported) {
	return func(t *testing.T, r *reported) { t.Helper(); r.write(t, text) }
}

func plantedFaults() []plantedFault {
	return []plantedFault{
		{"missing-index", "user_summary_pkey", report.Critical, "reads all of user_summary", "ADD CONSTRAINT user_summary_pkey PRIMARY KEY (user_id)",
			sql("ALTER TABLE user_summary DROP CONSTRAINT user_summary_pkey"), sql("ALTER TABLE user_summary ADD PRIMARY KEY (user_id)")},
		{"missing-index", "etl_files_run", report.Warning, "reads all of etl_files", "CREATE INDEX CONCURRENTLY etl_files_run",
			sql("DROP INDEX etl_files_run"), sql("CREATE INDEX etl_files_run ON etl_files (run_id)")},
		{"missing-partition", "transactions, 2024-05", report.Critical, "are missing from transactions", "ATTACH PARTITION transactions_2024_05 FOR VALUES FROM ('2024-05-01') TO ('2024-06-01')",
			sql("ALTER TABLE transactions DETACH PARTITION transactions_2024_05"),
			sql("ALTER TABLE transactions ATTACH PARTITION transactions_2024_05 FOR VALUES FROM ('2024-05-01') TO ('2024-06-01')")},
		{"short-partition", "transactions_2024_05", report.Critical, "are counted in it", "tally verify",
			asWriter("CREATE TABLE kept AS SELECT * FROM transactions_2024_05; TRUNCATE transactions_2024_05"),
			asWriter("INSERT INTO transactions SELECT * FROM kept; DROP TABLE kept; ANALYZE transactions_2024_05")},
		{"stale-statistics", "transaction_keys", report.Warning, "rest on guesses", "ANALYZE transaction_keys",
			sql("DELETE FROM pg_statistic WHERE starelid = 'transaction_keys'::regclass; SELECT pg_stat_reset_single_table_counters('transaction_keys'::regclass)"),
			sql("ANALYZE transaction_keys")},
		{"stale-statistics", "transaction_keys", report.Warning, "changes since it was analyzed", "ANALYZE transaction_keys",
			asWriter("UPDATE transaction_keys SET user_id = user_id WHERE hashtext(transaction_id) % 4 = 0"),
			func(t *testing.T, r *reported) { t.Helper(); r.exec(t, "VACUUM (FULL, ANALYZE) transaction_keys") }},
		{"dead-rows", "transaction_keys", report.Warning, "dead rows beside", "VACUUM (ANALYZE) transaction_keys",
			func(t *testing.T, r *reported) {
				t.Helper()
				r.write(t, "UPDATE transaction_keys SET user_id = user_id WHERE hashtext(transaction_id) % 2 = 0")
				r.exec(t, "ANALYZE transaction_keys")
			}, sql("VACUUM (FULL, ANALYZE) transaction_keys")},
		{"bloat", "transaction_keys", report.Warning, "larger than its rows need", "VACUUM FULL transaction_keys",
			func(t *testing.T, r *reported) {
				t.Helper()
				r.write(t, "UPDATE transaction_keys SET user_id = user_id")
				r.exec(t, "VACUUM (ANALYZE) transaction_keys")
			}, sql("VACUUM (FULL, ANALYZE) transaction_keys")},
		{"cold-updates", "user_summary", report.Note, "stayed in their page", "fillfactor",
			func(t *testing.T, r *reported) {
				t.Helper()
				r.exec(t, "CREATE INDEX by_total ON user_summary (total_amount)")
				r.write(t, "UPDATE user_summary SET total_amount = total_amount + 1; UPDATE user_summary SET total_amount = total_amount - 1")
				r.exec(t, "DROP INDEX by_total")
				r.exec(t, "VACUUM (FULL, ANALYZE) user_summary")
			}, sql("SELECT pg_stat_reset_single_table_counters('user_summary'::regclass)")},
		{"whole-scans", "transaction_keys", report.Note, "read from end to end", "pg_stat_statements", scanKeys,
			sql("SELECT pg_stat_reset_single_table_counters('transaction_keys'::regclass)")},
		{"checkpoints", "max_wal_size", report.Note, "before their time", "max_wal_size",
			func(t *testing.T, r *reported) {
				t.Helper()
				for range 30 {
					r.exec(t, "CHECKPOINT")
				}
			}, sql("SELECT pg_stat_reset_shared(CASE WHEN current_setting('server_version_num')::int >= 170000 THEN 'checkpointer' ELSE 'bgwriter' END)")},
		{"rollups-disagree", "daily_totals", report.Critical, "contradict", "tally verify",
			asWriter("UPDATE daily_totals SET total_amount = total_amount + 0.01 WHERE transaction_date = (SELECT min(transaction_date) FROM daily_totals)"),
			asWriter("UPDATE daily_totals SET total_amount = total_amount - 0.01 WHERE transaction_date = (SELECT min(transaction_date) FROM daily_totals)")},
		{"unused-index", "by_line", report.Note, "never been read", "DROP INDEX CONCURRENTLY by_line",
			sql("CREATE INDEX by_line ON transaction_keys (user_id)"), sql("DROP INDEX by_line")},
		{"leftover-table", "transactions_old", report.Note, "no partition", "DROP TABLE transactions_old",
			sql("CREATE TABLE transactions_old (LIKE transactions)"), sql("DROP TABLE transactions_old")},
		{"slot-keeps-log", "gone", report.Warning, "keeps", "pg_drop_replication_slot('gone')", keepLog, sql("SELECT pg_drop_replication_slot('gone')")},
		{"invalid-index", "broken", report.Warning, "not valid", "REINDEX INDEX CONCURRENTLY broken",
			sql("CREATE INDEX broken ON etl_logs (at); UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'broken'::regclass"), sql("DROP INDEX broken")},
		{"pending-migration", "9999_later", report.Warning, "has not been applied", "tally migrate",
			func(_ *testing.T, r *reported) { r.config.Pending = []string{"9999_later"} },
			func(_ *testing.T, r *reported) { r.config.Pending = nil }},
	}
}

// scanKeys reads a table from end to end, again and again.
func scanKeys(t *testing.T, r *reported) {
	t.Helper()
	r.exec(t, `BEGIN; SET LOCAL max_parallel_workers_per_gather = 0; SELECT pg_stat_force_next_flush(); DO $$ BEGIN
		FOR i IN 1..120 LOOP PERFORM count(user_id) FROM transaction_keys; END LOOP; END $$; COMMIT`)
}

// keepLog makes a slot that no one reads, and a GiB of log after it, by switching
// segments that are nearly empty.
func keepLog(t *testing.T, r *reported) {
	t.Helper()
	r.exec(t, "SELECT pg_create_physical_replication_slot('gone', true)")
	for range 66 { // of 16 MiB
		r.exec(t, "SELECT pg_logical_emit_message(false, 'test', 'x'); SELECT pg_switch_wal()")
	}
}

// What could lose money after a crash comes before everything else.
func TestReportPutsUnsafeSettingsFirst(t *testing.T) {
	t.Parallel()
	r := newReported(t, map[string]string{"fsync": "off", "autovacuum": "off"})
	made := r.make(t)
	assert.Equal(t, []string{"unsafe-setting", "no-autovacuum", "nothing-loaded"}, ids(made.Findings))
	assert.Equal(t, "fsync", made.Findings[0].Subject)
}

// A transaction that was left open is named with whose it is; so are a table that
// does not fit the cache, memory that is promised to too many, a lone
// month, and a night that failed. A night whose files were loaded since, one that failed long ago, and
// a table that was kept when its month was retired are no findings.
func TestReportFindsWhatCannotBeUndone(t *testing.T) {
	t.Parallel()
	r := newReported(t, map[string]string{"shared_buffers": "1MB", "work_mem": "1GB"})
	r.load(t, 60_000, 1)
	r.exec(t, "VACUUM (ANALYZE)")
	scanKeys(t, r)
	path := filepath.Join(t.TempDir(), "old.csv")
	require.NoError(t, os.WriteFile(path, []byte("transaction_id,user_id,amount,transaction_date\nOLD,7,1.50,1950-01-05\n"), 0o600))
	r.loadFile(t, path)
	r.exec(t, `INSERT INTO etl_runs (kind, logical_date, requested_by) SELECT 'nightly', DATE '2024-02-02' + i, 'test' FROM generate_series(0, 3) i;
		INSERT INTO etl_attempts (run_id, attempt, worker, code_version) SELECT id, 1, 'test', 'test' FROM etl_runs WHERE kind = 'nightly';
		INSERT INTO etl_outcomes (run_id, attempt, status, error, files_only, finished_at)
		SELECT id, 1, 'failed', 'the disk was away', extract(day FROM logical_date) IN (2, 4), now() - CASE extract(day FROM logical_date) WHEN 5 THEN interval '8 days' ELSE interval '0' END
		FROM etl_runs WHERE kind = 'nightly';
		INSERT INTO etl_files (run_id, attempt, source, path, bytes, status, error, read, loaded, duplicate, conflict, rejected, rules, code_version, started_at)
		SELECT r.id, 1, 'test', f.path, 1, f.status, f.error, 0, 0, 0, 0, 0, '{}', 'test', now()
		FROM etl_runs r JOIN (VALUES (2, 1, 'broken.csv', 'failed', 'no header'), (4, 2, 'fixed.csv', 'failed', 'no header'), (5, 3, 'fixed.csv', 'loaded', NULL)) f(day, n, path, status, error)
		    ON r.kind = 'nightly' AND f.day = extract(day FROM logical_date) ORDER BY f.n;
		CREATE TABLE transactions_1940_01 (LIKE transactions); CREATE TABLE transactions_1940_02 (LIKE transactions);
		INSERT INTO etl_retired (month, change, before, totals, rows, amount, keys_hash, months_hash, days_hash, kept_table)
		VALUES ('1940-01-01', 1, '1940-03-01', 'kept', 1, 1, 0, 0, 0, 'transactions_1940_01'), ('1940-02-01', 1, '1940-03-01', 'kept', 1, 1, 0, 0, 0, NULL)`)
	tx, err := r.pool.Begin(t.Context())
	require.NoError(t, err)
	defer tx.Rollback(t.Context())
	_, err = tx.Exec(t.Context(), "SELECT set_config('application_name', 'somebody', true)")
	require.NoError(t, err)
	r.config.OpenFor = time.Millisecond
	found, titles := map[string]report.Finding{}, map[string][]string{}
	for _, f := range r.make(t).Findings {
		found[f.ID] = f
		titles[f.ID] = append(titles[f.ID], f.Title)
	}
	assert.Contains(t, found["open-transaction"].Title, "somebody")
	assert.Equal(t, []string{"The night of 2024-02-02 failed", "The night of 2024-02-03 failed"}, titles["failed-run"])
	assert.Equal(t, []string{"transactions_1940_02 is no partition of transactions"}, titles["leftover-table"])
	assert.Contains(t, found["failed-run"].Evidence, "the disk was away")
	assert.Equal(t, "tally run --date 2024-02-03", found["failed-run"].Fix[len(found["failed-run"].Fix)-len("tally run --date 2024-02-03"):])
	assert.Equal(t, "transactions_1950_01", found["lone-month"].Subject)
	assert.Equal(t, "work_mem", found["memory-promised"].Subject)
	assert.Equal(t, "transaction_keys", found["cold-cache"].Subject)
	assert.Equal(t, "shared_buffers", found["small-buffers"].Subject)
}

// Partitions of next to nothing are reported; corrected rows and the statements that the
// report prints take them away.
func TestReportFindsSparsePartitions(t *testing.T) {
	t.Parallel()
	r := newReported(t, nil)
	load := func(year int, rules transform.Rules) {
		content := "transaction_id,user_id,amount,transaction_date\n"
		for i := range 40 {
			content += fmt.Sprintf("T%d,7,1.50,%s\n", i, time.Date(year, time.Month(1+i), 5, 0, 0, 0, 0, time.UTC).Format(time.DateOnly))
			if year == 2024 {
				content = strings.Replace(content, content[len(content)-11:], "2024-01-05\n", 1)
			}
		}
		path := filepath.Join(t.TempDir(), fmt.Sprint(year, ".csv"))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		r.loadBy(t, rules, path)
	}
	load(1950, transform.Rules{NewMonths: 40})
	made := r.make(t)
	i := slices.Index(ids(made.Findings), "sparse-partitions")
	require.GreaterOrEqual(t, i, 0, ids(made.Findings))
	found := made.Findings[i]
	assert.Equal(t, "40 of 40 partitions of transactions hold next to nothing", found.Title)
	assert.Contains(t, found.Evidence[0], "the first is transactions_1950_01, the last transactions_1953_04")
	var fix []string
	for statement := range strings.Lines(found.Fix) {
		if !strings.HasPrefix(statement, "--") {
			fix = append(fix, statement)
			r.exec(t, statement)
		}
	}
	require.Len(t, fix, 3)
	assert.Contains(t, ids(r.make(t).Findings), "sparse-partitions", "none of them is empty yet")
	load(2024, transform.Rules{Corrections: transform.CorrectionsReplace})
	r.exec(t, fix[2])
	assert.NotContains(t, ids(r.make(t).Findings), "sparse-partitions")
	var partitions string
	require.NoError(t, r.pool.QueryRow(t.Context(), "SELECT string_agg(inhrelid::regclass::text, ' ') FROM pg_inherits WHERE inhparent = 'transactions'::regclass").Scan(&partitions))
	assert.Equal(t, "transactions_2024_01", partitions)
	v, err := summaries.Verify(t.Context(), r.pool, summaries.VerifyOptions{}, func(d summaries.Drift) { t.Error(d) })
	require.NoError(t, err)
	assert.True(t, v.Clean())
}

// The slowest statements are those of pg_stat_statements, where it is installed.
func TestReportShowsSlowStatements(t *testing.T) {
	t.Parallel()
	r := newReported(t, nil)
	var available bool
	require.NoError(t, r.pool.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_stat_statements')").Scan(&available))
	if !available {
		t.Skip("this PostgreSQL has no pg_stat_statements")
	}
	assert.Len(t, r.make(t).Skipped, 2)
	r = newReported(t, map[string]string{"shared_preload_libraries": "pg_stat_statements"})
	r.exec(t, "CREATE EXTENSION pg_stat_statements; CREATE EXTENSION pgstattuple; SELECT pg_sleep(0.3)")
	made := r.make(t)
	assert.Empty(t, made.Skipped)
	require.NotEmpty(t, made.Statements)
	assert.Greater(t, made.Statements[0].Total, 1.0)
}

// An index that is mostly empty is found where pgstattuple can look into it.
func TestReportFindsThinIndexes(t *testing.T) {
	t.Parallel()
	r := newReported(t, nil)
	if _, err := r.pool.Exec(t.Context(), "CREATE EXTENSION pgstattuple"); err != nil {
		t.Skip("this PostgreSQL has no pgstattuple: ", err)
	}
	r.load(t, 350_000, 1)
	r.exec(t, "VACUUM (ANALYZE)")
	require.Empty(t, r.make(t).Findings, "of a healthy database")
	r.write(t, "DELETE FROM transaction_keys WHERE hashtext(transaction_id) % 5 <> 0")
	r.exec(t, "VACUUM (ANALYZE) transaction_keys")
	found, titles := map[string]report.Finding{}, map[string][]string{}
	for _, f := range r.make(t).Findings {
		found[f.ID] = f
		titles[f.ID] = append(titles[f.ID], f.Title)
	}
	assert.Equal(t, "transaction_keys_pkey", found["index-bloat"].Subject)
	assert.Equal(t, "REINDEX INDEX CONCURRENTLY transaction_keys_pkey;", found["index-bloat"].Fix)
}

func TestReportSaysWhatItMayNotSeeAndHasNoTimeFor(t *testing.T) {
	t.Parallel()
	r := newReported(t, nil)
	r.load(t, 20_000, 1)
	r.exec(t, `CREATE ROLE reader; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader;
		REVOKE SELECT ON user_months FROM reader`)
	config := r.pool.Config().Copy()
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "SET ROLE reader")
		return err
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	defer pool.Close()
	limited := r.config
	limited.Pool = pool
	made, err := report.Make(t.Context(), limited)
	require.NoError(t, err)
	whys := map[string]string{}
	for _, s := range made.Skipped {
		whys[s.What] = s.Why
	}
	assert.Contains(t, whys["the rollups' totals"], "permission denied")
	assert.NotEmpty(t, made.Tables, "what it may see is there")
	assert.Contains(t, whys["open transactions of other roles"], "pg_monitor")

	short := r.config
	short.Within = 150 * time.Millisecond
	made, err = report.Make(t.Context(), short)
	if err == nil { // a slow machine has no time even to begin
		var whys []string
		for _, s := range made.Skipped {
			whys = append(whys, s.Why)
		}
		assert.Contains(t, strings.Join(whys, "\n"), "--within")
	}
}

func TestReportChangesNothing(t *testing.T) {
	t.Parallel()
	r := newReported(t, nil)
	r.load(t, 20_000, 1)
	state := func() (text string) {
		t.Helper()
		require.NoError(t, r.pool.QueryRow(t.Context(), `SELECT concat_ws(' ', (SELECT count(*) FROM transactions), (SELECT sum(version) FROM user_summary),
			(SELECT count(*) FROM pg_class), pg_current_xact_id()::text)`).Scan(&text))
		return text
	}
	r.exec(t, "VACUUM")
	before := state()
	r.make(t)
	after := state()
	// The transaction ids are the two questions' own: the report had none, and nothing
	// is written without one. (The counters of pg_stat_all_tables would say it too, but a
	// session that has loaded adds its own up to ten seconds later.)
	var first, second uint64
	_, err := fmt.Sscan(before[strings.LastIndex(before, " ")+1:], &first)
	require.NoError(t, err)
	_, err = fmt.Sscan(after[strings.LastIndex(after, " ")+1:], &second)
	require.NoError(t, err)
	assert.Equal(t, first+1, second, "nobody else wrote")
	assert.Equal(t, before[:strings.LastIndex(before, " ")], after[:strings.LastIndex(after, " ")])
}

// A year of nights: what grows, by how much a night, and when a limit is met.
func TestReportForecasts(t *testing.T) {
	t.Parallel()
	r := newReported(t, nil)
	for night := range uint64(4) {
		r.load(t, 5_000, night)
	}
	made := r.make(t)
	for _, f := range made.Forecasts {
		assert.Nil(t, f.Day, "one day's loads are no slope: %+v", f)
	}
	// The ledger cannot be changed, so the clock is: loads of one day become nights.
	r.exec(t, "ALTER TABLE etl_files DISABLE TRIGGER ALL")
	r.exec(t, `UPDATE etl_files f SET finished_at = now() - make_interval(days => 3 - n::int), started_at = now() - make_interval(days => 3 - n::int, secs => 10 * n)
		FROM (SELECT id, row_number() OVER (ORDER BY id) - 1 AS n FROM etl_files) o WHERE o.id = f.id`)
	made = r.make(t)
	require.Len(t, made.Nights, 4)
	days := map[string]*time.Time{}
	for _, f := range made.Forecasts {
		days[f.Limit] = f.Day
	}
	require.NotNil(t, days["the disk is full"])
	var perNight, bytes float64
	for _, g := range made.Growth {
		perNight += g.BytesPerNight
		bytes += float64(g.Bytes)
	}
	assert.InDelta(t, bytes/4, perNight, bytes/20, "each night is a fourth of all")
	assert.WithinDuration(t, time.Now().Add(time.Duration(float64(1<<30)/perNight*24)*time.Hour), *days["the disk is full"], 48*time.Hour)
	require.NotNil(t, days["a night's loads take more than an hour"])
	// Seconds were 0, 10, 20, 30: ten more each night, so 3,600 in 357 nights.
	assert.WithinDuration(t, time.Now().AddDate(0, 0, 357), *days["a night's loads take more than an hour"], 5*24*time.Hour)
	assert.Nil(t, days["the ids of transactions run out"])
}

// The command writes what it says, whole, and every plan in EXPLAIN's own JSON.
func TestReportCommand(t *testing.T) {
	t.Parallel()
	url, out := testdb.URL(t, migrations.Schema{}), filepath.Join(t.TempDir(), "report")
	var stdout, stderr bytes.Buffer
	require.Equal(t, exitDone, run(t.Context(), []string{"--database-url", url, "report", "--out", out, "--json"}, &stdout, &stderr), stderr.String())
	var printed report.Report
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &printed))
	written, err := os.ReadFile(filepath.Join(out, "report.json"))
	require.NoError(t, err)
	assert.Equal(t, stdout.String(), string(written))
	for _, name := range []string{"report.html", "report.md"} {
		content, err := os.ReadFile(filepath.Join(out, name))
		require.NoError(t, err)
		assert.Contains(t, string(content), printed.Findings[0].Title, name)
	}
	plans, err := filepath.Glob(filepath.Join(out, "plans", "*.json"))
	require.NoError(t, err)
	assert.Len(t, plans, len(printed.Queries))
	for _, path := range plans {
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		var plan []struct{ Plan map[string]any }
		require.NoError(t, json.Unmarshal(content, &plan), path)
		assert.NotEmpty(t, plan[0].Plan["Node Type"], path)
	}

	stdout.Reset()
	require.Equal(t, exitDone, run(t.Context(), []string{"--database-url", url, "report"}, &stdout, &stderr))
	assert.True(t, strings.HasPrefix(stdout.String(), "# "), "Markdown where nothing else is said")
	stderr.Reset()
	require.Equal(t, exitUsage, run(t.Context(), []string{"--database-url", url, "report", "--within", "0s"}, &stdout, &stderr))
	assert.Contains(t, stderr.String(), "--within")
	stderr.Reset()
	require.Equal(t, exitFailed, run(t.Context(), []string{"--database-url", url, "report", "--out", os.DevNull}, &stdout, &stderr))
	assert.Contains(t, stderr.String(), "--out")
}

func TestReportOfAnotherDatabase(t *testing.T) {
	t.Parallel()
	server := testdb.Own(t, nil)
	pool, err := postgres.Open(t.Context(), postgres.Config{URL: server.URL()})
	require.NoError(t, err)
	defer pool.Close()
	_, err = report.Make(t.Context(), report.Config{Pool: pool, Queries: queries, Rollups: rollups()})
	assert.ErrorIs(t, err, report.ErrNotMigrated)
}
