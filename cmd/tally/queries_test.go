package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/explain"
	"github.com/opentax/tally/internal/sqlfile"
	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/migrations"
)

// unplanned are the statements of the .sql files that have no plan, each with the
// reason.
func unplanned() map[string]string {
	const ddl, setting, rebuilding, retiring, expiring = "DDL", "SET", "over temporary tables, by hand only", "by hand only, over whole months", "once a night, over whole tables"
	return map[string]string{
		"summaries/refresh.sql drop_key": ddl, "summaries/refresh.sql add_key": ddl,
		"summaries/refresh.sql delta": ddl + ", of no rows", "summaries/refresh.sql drop_delta": ddl,
		"summaries/refresh.sql stamp":     "a part of others",
		"pipeline/load/load.sql drop_key": ddl, "pipeline/load/load.sql add_key": ddl,
		"pipeline/load/load.sql look_up": setting, "pipeline/load/load.sql look_up_ends": setting, "pipeline/load/load.sql analyze_known": "ANALYZE",
		"pipeline/load/load.sql stored_rows": "only on a cluster",
		"pipeline/load/load.sql known_table": ddl, "pipeline/load/load.sql drop_known": ddl,
		"pipeline/load/load.sql reverted_rows": ddl + " AS", "pipeline/load/load.sql restored_rows": ddl + " AS", "pipeline/load/load.sql replaced_table": ddl,
		"pipeline/seal/seal.sql rejects": "COPY", "pipeline/parquet/export.sql lock": "one function", "pipeline/parquet/export.sql snapshot": "one function",
		"summaries/rebuild.sql stamp":       "a part of others",
		"summaries/rebuild.sql differing":   rebuilding,
		"summaries/rebuild.sql state":       rebuilding,
		"summaries/rebuild.sql again":       rebuilding,
		"summaries/rebuild.sql added":       rebuilding,
		"summaries/rebuild.sql remove":      rebuilding,
		"summaries/rebuild.sql store":       rebuilding,
		"summaries/rebuild.sql touch":       rebuilding,
		"summaries/rebuild.sql keys":        rebuilding,
		"summaries/rebuild.sql key_rows":    rebuilding,
		"summaries/rebuild.sql remove_keys": rebuilding,
		"summaries/rebuild.sql store_keys":  rebuilding,
		"summaries/rebuild.sql second_rows": rebuilding,
		"summaries/verify.sql sums":         "a part of others",
		"summaries/retire.sql retired_rows": ddl + " AS", "summaries/retire.sql retired_months": ddl + " AS", "summaries/retire.sql retired_users": ddl + " AS",
		"summaries/retire.sql list_retired": retiring, "summaries/retire.sql retire": retiring, "summaries/retire.sql retire_files": retiring,
		"summaries/retire.sql drift": retiring, "summaries/retire.sql drift_keys": retiring, "summaries/retire.sql drop_users": retiring,
		"summaries/retire.sql reduce_users": retiring, "summaries/retire.sql drop_periods": retiring, "summaries/retire.sql rollup_hash": "a part of others",
		"jobs/jobs.sql lock_retirements":        "LOCK",
		"pipeline/load/retire.sql lock_retired": "LOCK", "pipeline/load/retire.sql old_partitions": "system views",
		"pipeline/load/retire.sql retired_restore": "over a temporary table",
		"pipeline/load/expire.sql expiring":        expiring, "pipeline/load/expire.sql expiring_rows": "COPY", "pipeline/load/expire.sql expire": expiring,
		"pipeline/load/expire.sql expire_messages": expiring,
		"pipeline/load/load.sql staging_table":     ddl, "pipeline/load/load.sql staging_key": ddl,
		"pipeline/load/load.sql drop_staging_check": ddl, "pipeline/load/load.sql planned": "system views",
	}
}

func TestEveryStatementIsNamed(t *testing.T) {
	t.Parallel()
	names, texts := map[string]bool{}, []string{}
	for _, q := range queries(explain.Sample{}) {
		assert.False(t, names[q.Name], "%s is there twice", q.Name)
		assert.NotEmpty(t, q.Purpose, q.Name)
		names[q.Name] = true
		texts = append(texts, q.SQL)
	}
	exceptions := unplanned()
	word := regexp.MustCompile(`\\\{\\\{[a-z_]+\\\}\\\}`)
	for _, file := range []string{"summaries/refresh.sql", "summaries/verify.sql", "summaries/rebuild.sql", "pipeline/load/load.sql", "pipeline/seal/seal.sql", "pipeline/prove/prove.sql", "pipeline/parquet/export.sql", "jobs/jobs.sql", "jobs/alert.sql", "jobs/ledger/stats.sql", "jobs/ledger/partition.sql", "jobs/ledger/health.sql", "summaries/retire.sql", "pipeline/load/retire.sql", "pipeline/load/expire.sql"} {
		text, err := os.ReadFile("../../" + file)
		require.NoError(t, err)
		for name, sql := range sqlfile.Parse(string(text)) {
			pattern := regexp.MustCompile("^" + word.ReplaceAllString(regexp.QuoteMeta(sql), "(?s:.*)") + "$")
			named := false
			for _, text := range texts {
				named = named || pattern.MatchString(strings.TrimSpace(text))
			}
			reason := exceptions[file+" "+name]
			delete(exceptions, file+" "+name)
			assert.NotEqual(t, named, reason != "", "%s of %s is to be in its package's Queries, or to have a reason not to be", name, file)
		}
	}
	assert.Empty(t, exceptions, "exceptions of statements that there are not")
}

// An empty database has plans, too, and nothing in them to complain about; a
// transaction that only reads is enough for them.
func TestPlansOfAnEmptyDatabase(t *testing.T) {
	t.Parallel()
	testdb.SkipOnCluster(t, "its plans are those of the nodes")
	pool := testdb.New(t, migrations.Schema{})
	inTransaction(t, pool, func(tx pgx.Tx) {
		_, err := tx.Exec(t.Context(), "SET TRANSACTION READ ONLY")
		require.NoError(t, err)
		sample, err := explain.TakeSample(t.Context(), tx)
		require.NoError(t, err)
		assert.True(t, sample.Empty)
		for _, q := range queries(sample) {
			p, err := explain.Explain(t.Context(), tx, q, true)
			require.NoError(t, err)
			assert.Equal(t, !q.Writes, p.Analyzed, q.Name)
			assert.Empty(t, p.Violations(q.Expect), "%s\n%s", q.Name, p.Text())
		}
	})
}
