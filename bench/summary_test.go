package bench

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/shopspring/decimal"
)

const (
	summaryTurns = 20 // turns per operation
	scanTurns    = 1  // of them with methods that scan the whole table
)

// summaryMethod is a method to compute a user's count and total.
type summaryMethod struct {
	name, sql string
	scans     bool // scans the whole table
	readings
}

func summaryMethods() []*summaryMethod {
	sum := func(table string) string {
		return "SELECT count(*), sum(amount::numeric) FROM " + table + " WHERE user_id = $1"
	}
	return []*summaryMethod{
		{name: "user_summary", sql: "SELECT total_transactions, total_amount FROM user_summary WHERE user_id = $1"},
		{name: "primary-key", sql: sum("transactions")}, // one index scan per partition
		{name: "index", sql: sum("indexed")},
		{name: "none", sql: sum("bare"), scans: true},
	}
}

// BenchmarkSummary returns a user's count and total, with ten transactions per user in a
// year: from user_summary, and by summing on read with the primary key of the partitioned
// table, with an index of an unpartitioned table, and with a sequential scan. Times are
// the server's, including planning. The answers of all methods are compared.
func BenchmarkSummary(b *testing.B) {
	for _, n := range sizes() {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) { benchmarkSummary(b, rowsOf(n, n/10, 365)) })
	}
}

// BenchmarkSummaryRows is BenchmarkSummary with more transactions per user in a table of
// fixed size.
func BenchmarkSummaryRows(b *testing.B) {
	n := sizes()[len(sizes())-1]
	for each := int64(10); each <= n/10; each *= 10 {
		b.Run(fmt.Sprintf("each=%d", each), func(b *testing.B) { benchmarkSummary(b, rowsOf(n, n/each, 365)) })
	}
}

func benchmarkSummary(b *testing.B, r rowset) {
	pool, _ := database(b)
	tallyTables(b, pool, r)
	flatTable(b, pool, "bare", r)
	flatTable(b, pool, "indexed", r)
	exec(b, pool, "CREATE INDEX indexed_user_id ON indexed (user_id)")
	exec(b, pool, "VACUUM (ANALYZE, FREEZE)")
	settle(b, pool)
	methods := summaryMethods()
	for i := range int64(3) {
		checkSummaryAnswers(b, pool, methods, 1+i*r.users/3)
	}
	b.ResetTimer()
	for i := range int64(b.N * summaryTurns) {
		user := 1 + i*7_919%r.users
		for _, m := range methods {
			if m.scans && i%summaryTurns >= scanTurns {
				continue
			}
			m.add(explain(b, pool, m.sql, user))
		}
	}
	for _, m := range methods {
		b.ReportMetric(median(m.server), "read-µs/"+m.name)
		b.ReportMetric(median(m.planning), "plan-µs/"+m.name)
		b.ReportMetric(median(m.pages), "pages/"+m.name)
	}
}

func checkSummaryAnswers(b *testing.B, pool *pgxpool.Pool, methods []*summaryMethod, user int64) {
	b.Helper()
	var wantCount int64
	var want decimal.Decimal
	for i, m := range methods {
		var count int64
		var total decimal.Decimal
		if err := pool.QueryRow(b.Context(), m.sql, user).Scan(&count, &total); err != nil {
			b.Fatal(m.name, err)
		}
		if i == 0 {
			wantCount, want = count, total
		}
		if count == 0 || count != wantCount || !total.Equal(want) {
			b.Fatalf("user %d, %s: %d and %s, want %d and %s", user, m.name, count, total, wantCount, want)
		}
	}
}

// someUsers returns a hundred users with transactions.
func someUsers(b *testing.B, pool *pgxpool.Pool) []int32 {
	b.Helper()
	return column[int32](b, pool, "SELECT user_id FROM user_summary ORDER BY hashint4(user_id) LIMIT 100")
}
