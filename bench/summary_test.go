package bench

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/shopspring/decimal"
)

const (
	summaryTurns = 20 // of an operation, in each of which every way is asked
	scanTurns    = 1  // for a way that reads the whole table
)

// summaryWay is a way to get at a user's count and total.
type summaryWay struct {
	name, sql string
	scans     bool // the whole table
	readings
}

func summaryWays() []*summaryWay {
	sum := func(table string) string {
		return "SELECT count(*), sum(amount::numeric) FROM " + table + " WHERE user_id = $1"
	}
	return []*summaryWay{
		{name: "user_summary", sql: "SELECT total_transactions, total_amount FROM user_summary WHERE user_id = $1"},
		{name: "primary-key", sql: sum("transactions")}, // into each month's partition
		{name: "index", sql: sum("indexed")},
		{name: "none", sql: sum("bare"), scans: true},
	}
}

// BenchmarkSummary gets at one user's count and total, ten transactions a user in a
// year: from user_summary, and by summing on read, by the primary key of the
// partitioned table, by an index of a flat table, and by reading a flat table from end
// to end, as without an index. The server's own time, planned anew each time; every
// way's answer is held against the others'.
func BenchmarkSummary(b *testing.B) {
	for _, n := range sizes() {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) { benchmarkSummary(b, rowsOf(n, n/10, 365)) })
	}
}

// BenchmarkSummaryRows is the same where a user has more transactions, in a table of a
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
	ways := summaryWays()
	for i := range int64(3) {
		sameSums(b, pool, ways, 1+i*r.users/3)
	}
	b.ResetTimer()
	for i := range int64(b.N * summaryTurns) {
		user := 1 + i*7_919%r.users
		for _, w := range ways {
			if w.scans && i%summaryTurns >= scanTurns {
				continue
			}
			w.add(explain(b, pool, w.sql, user))
		}
	}
	for _, w := range ways {
		b.ReportMetric(median(w.server), "read-µs/"+w.name)
		b.ReportMetric(median(w.planning), "plan-µs/"+w.name)
		b.ReportMetric(median(w.pages), "pages/"+w.name)
	}
}

func sameSums(b *testing.B, pool *pgxpool.Pool, ways []*summaryWay, user int64) {
	b.Helper()
	var wantCount int64
	var want decimal.Decimal
	for i, w := range ways {
		var count int64
		var total decimal.Decimal
		if err := pool.QueryRow(b.Context(), w.sql, user).Scan(&count, &total); err != nil {
			b.Fatal(w.name, err)
		}
		if i == 0 {
			wantCount, want = count, total
		}
		if count == 0 || count != wantCount || !total.Equal(want) {
			b.Fatalf("user %d, %s: %d and %s, want %d and %s", user, w.name, count, total, wantCount, want)
		}
	}
}

// someUsers are a hundred users that have transactions.
func someUsers(b *testing.B, pool *pgxpool.Pool) []int32 {
	b.Helper()
	return column[int32](b, pool, "SELECT user_id FROM user_summary ORDER BY hashint4(user_id) LIMIT 100")
}
