package bench

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// BenchmarkStatistics asks how far the planner's estimates are from the truth in
// Tally's partitioned table: with the statistics that autovacuum keeps, those of the
// partitions alone, and with the parent analyzed too; and of a new night's date, which
// no statistics know yet. What analyzing the parent costs stands beside it.
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

// analyzePartitions does what autovacuum does: it never comes to a partitioned table
// itself.
func analyzePartitions(b *testing.B, pool *pgxpool.Pool) {
	b.Helper()
	for _, partition := range column[string](b, pool, "SELECT relid::text FROM pg_partition_tree('transactions') WHERE isleaf") {
		exec(b, pool, "ANALYZE "+partition)
	}
	exec(b, pool, "ANALYZE user_summary")
}

// estimates reports what the planner thinks of two questions, as a share of what is
// so, and how long they take.
func estimates(b *testing.B, pool *pgxpool.Pool, statistics string) {
	b.Helper()
	// A constant: the planner guesses a third of the rows for what a subquery gives.
	least := column[string](b, pool, "SELECT percentile_disc(0.01) WITHIN GROUP (ORDER BY total_amount)::text FROM user_summary")[0]
	for name, sql := range map[string]string{
		"users": "SELECT user_id, count(*) FROM transactions GROUP BY user_id",
		"join": `SELECT t.id FROM transactions t JOIN user_summary s USING (user_id)
			WHERE s.total_amount < ` + least,
	} {
		e := explain(b, pool, sql)
		top := e.nodes[0]
		if top.Rows == 0 {
			b.Fatalf("%s gives nothing", name)
		}
		b.ReportMetric(top.Estimated/top.Rows, name+"-estimate-of-actual/"+statistics)
		b.ReportMetric(e.server()/1000, name+"-ms/"+statistics)
	}
}

// distinctUsers reports how many users ANALYZE thinks the parent has, and the median
// partition, as a share of those that are there.
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

// newNight reports the estimate of a date that came after the statistics did, and
// again after ANALYZE: in Tally's table, whose month it is, and in a flat one.
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
	ask := func(when string) {
		for _, table := range []string{"flat", "transactions"} {
			e := explain(b, pool, fmt.Sprintf("SELECT id FROM %s WHERE transaction_date = date '%s' + 1", table, last))
			if e.nodes[0].Rows != float64(night) {
				b.Fatalf("%s has %v rows of the night, want %d", table, e.nodes[0].Rows, night)
			}
			b.ReportMetric(e.nodes[0].Estimated/e.nodes[0].Rows, "new-night-estimate-of-actual/"+table+"-"+when)
		}
	}
	ask("stale")
	exec(b, pool, "ANALYZE flat; ANALYZE transactions")
	ask("analyzed")
}
