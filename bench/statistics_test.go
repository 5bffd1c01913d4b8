package bench

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// BenchmarkStatistics compares the planner's estimates for the partitioned table with the
// actual rows: with statistics of only the partitions, which autovacuum maintains, with
// the parent analyzed too, and for a new date that is not in the statistics. It also
// measures ANALYZE of the parent.
func BenchmarkStatistics(b *testing.B) {
	for _, n := range sizes() {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			pool, _ := database(b)
			r := rowsOf(n, n/10, 365)
			tallyTables(b, pool, r)
			exec(b, pool, "VACUUM")
			analyzePartitions(b, pool)
			b.ResetTimer()
			var took []float64
			for range b.N {
				exec(b, pool, "DELETE FROM pg_statistic WHERE starelid = 'transactions'::regclass; UPDATE pg_class SET reltuples = -1 WHERE oid = 'transactions'::regclass")
				b.StopTimer()
				estimates(b, pool, "partitions-alone")
				b.StartTimer()
				began := time.Now()
				exec(b, pool, "ANALYZE transactions")
				took = append(took, 1000*time.Since(began).Seconds())
				estimates(b, pool, "parent-too")
			}
			b.ReportMetric(median(took), "analyze-ms/parent")
			distinctUsers(b, pool, r)
			newNight(b, pool, r)
		})
	}
}

// analyzePartitions analyzes what autovacuum analyzes: the partitions, not the
// partitioned table.
func analyzePartitions(b *testing.B, pool *pgxpool.Pool) {
	b.Helper()
	for _, partition := range column[string](b, pool, "SELECT relid::text FROM pg_partition_tree('transactions') WHERE isleaf") {
		exec(b, pool, "ANALYZE "+partition)
	}
	exec(b, pool, "ANALYZE user_summary")
}

// estimates reports the planner's row estimates of two queries relative to the actual
// rows, and the time of the queries.
func estimates(b *testing.B, pool *pgxpool.Pool, statistics string) {
	b.Helper()
	// A constant, since the planner assumes a third of the rows for a subquery's value.
	threshold := column[string](b, pool, "SELECT percentile_disc(0.01) WITHIN GROUP (ORDER BY total_amount)::text FROM user_summary")[0]
	for name, sql := range map[string]string{
		"users": "SELECT user_id, count(*) FROM transactions GROUP BY user_id",
		"join": `SELECT t.id FROM transactions t JOIN user_summary s USING (user_id)
			WHERE s.total_amount < ` + threshold,
	} {
		e := explain(b, pool, sql)
		top := e.nodes[0]
		if top.Rows == 0 {
			b.Fatalf("%s returns no rows", name)
		}
		b.ReportMetric(top.Estimated/top.Rows, name+"-estimate-of-actual/"+statistics)
		b.ReportMetric(e.server()/1000, name+"-ms/"+statistics)
	}
}

// distinctUsers reports the estimated number of distinct users of the parent and of the
// median partition, relative to the actual number.
func distinctUsers(b *testing.B, pool *pgxpool.Pool, r rowset) {
	b.Helper()
	const estimate = `SELECT CASE WHEN s.n_distinct < 0 THEN -s.n_distinct * c.reltuples ELSE s.n_distinct END::float8
		FROM pg_stats s JOIN pg_class c ON c.oid = s.tablename::regclass WHERE s.attname = 'user_id' AND s.tablename = '%s'`
	of := func(table string) float64 {
		actual := column[int64](b, pool, "SELECT count(DISTINCT user_id) FROM "+table)[0]
		if table == "transactions" && actual != r.users {
			b.Fatalf("%d users, want %d", actual, r.users)
		}
		return column[float64](b, pool, fmt.Sprintf(estimate, table))[0] / float64(actual)
	}
	b.ReportMetric(of("transactions"), "distinct-users-estimate-of-actual/parent")
	var each []float64
	for _, partition := range column[string](b, pool, "SELECT relid::text FROM pg_partition_tree('transactions') WHERE isleaf AND pg_relation_size(relid) > 0") {
		each = append(each, of(partition))
	}
	b.ReportMetric(median(each), "distinct-users-estimate-of-actual/partition")
}

// newNight reports the estimate for a date that is newer than the statistics, before and
// after ANALYZE, for Tally's table and for an unpartitioned one.
func newNight(b *testing.B, pool *pgxpool.Pool, r rowset) {
	b.Helper()
	flatTable(b, pool, "flat", r)
	exec(b, pool, "CREATE INDEX ON flat (transaction_date)")
	exec(b, pool, "ANALYZE flat")
	last := column[string](b, pool, "SELECT max(transaction_date)::text FROM transactions")[0]
	night := max(100, r.total/100)
	rows := rowset{first: r.total + 1, last: r.total + night, users: r.users, total: r.total}
	add := func(table, columns string) {
		exec(b, pool, fmt.Sprintf("BEGIN; SET LOCAL tally.writer = 'tally'; INSERT INTO %s SELECT id, transaction_id, user_id, amount, date '%s' + 1%s FROM (%s) r; COMMIT",
			table, last, columns, rows.sql()))
	}
	exec(b, pool, fmt.Sprintf("BEGIN; SET LOCAL tally.writer = 'tally'; SELECT tally_ensure_partition(date '%s' + 1); COMMIT", last))
	add("flat", "")
	add("transactions", ", 1, id")
	measure := func(when string) {
		for _, table := range []string{"flat", "transactions"} {
			e := explain(b, pool, fmt.Sprintf("SELECT id FROM %s WHERE transaction_date = date '%s' + 1", table, last))
			if e.nodes[0].Rows != float64(night) {
				b.Fatalf("%s has %v rows of the night, want %d", table, e.nodes[0].Rows, night)
			}
			b.ReportMetric(e.nodes[0].Estimated/e.nodes[0].Rows, "new-night-estimate-of-actual/"+table+"-"+when)
		}
	}
	measure("stale")
	exec(b, pool, "ANALYZE flat; ANALYZE transactions")
	measure("analyzed")
}
