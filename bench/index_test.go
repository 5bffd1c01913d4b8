package bench

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/shopspring/decimal"
)

// indexParts is the number of batches per turn.
const indexParts = 5

// indexed is an unpartitioned table with at most one index.
type indexed struct {
	name  string
	index string // the rest of CREATE INDEX ON table; no index if empty
	table string
	mixed bool // rows are not in date order
	reads [3]readings
	load  []float64 // seconds per batch
	wal   float64
	bytes float64 // of the index
	rows  float64 // indexed when it was created
}

func indexes() []*indexed {
	return []*indexed{
		{name: "none"},
		{name: "user_id", index: "(user_id)"},
		{name: "user_id-covering", index: "(user_id) INCLUDE (amount)"},
		{name: "user_id-hash", index: "USING hash (user_id)"},
		{name: "user_id-brin", index: "USING brin (user_id) WITH (pages_per_range = 16)"},
		{name: "date", index: "(transaction_date)"},
		{name: "date-brin", index: "USING brin (transaction_date) WITH (pages_per_range = 16)"},
		{name: "date-brin-mixed", index: "USING brin (transaction_date) WITH (pages_per_range = 16)", mixed: true},
		{name: "user_id-date", index: "(user_id, transaction_date)"},
	}
}

// indexQueries returns the queries: the sum of a user, of a day, of a month.
func indexQueries(r rowset) (names [3]string, sql [3]string) {
	const sum = "SELECT count(*), sum(amount::numeric) FROM %s WHERE "
	return [3]string{"user", "day", "month"}, [3]string{
		sum + fmt.Sprint("user_id = ", 1+r.users/2),
		sum + "transaction_date = " + r.day(),
		sum + "transaction_date BETWEEN " + r.day() + " AND " + r.day() + " + 29",
	}
}

// BenchmarkIndexes compares tables with the same rows and different indexes. The rows
// cover a year in date order (in one variant in random order). It measures the sum of a
// user, a day and a month, with the heap fetches of index-only scans, and the time and
// WAL of a COPY of another tenth of the rows, alternately with the table without an
// index. fsync is on. Each turn copies five batches, since a single one varies too much.
func BenchmarkIndexes(b *testing.B) {
	for _, n := range sizes() {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			s := newServer(b)
			pool := s.database(b)
			r := rowsOf(n, n/10, 365)
			all := indexes()
			for i, t := range all {
				t.make(b, pool, fmt.Sprint("t", i), r)
			}
			exec(b, pool, "VACUUM (ANALYZE, FREEZE)")
			settle(b, pool)
			names, queries := indexQueries(r)
			b.ResetTimer()
			for turn := range b.N {
				for _, t := range all {
					t.read(b, pool, queries)
				}
				for part := range int64(indexParts) {
					more := r
					more.first = n + 1 + (int64(turn)*indexParts+part)*n/(10*indexParts)
					more.last = more.first + n/(10*indexParts) - 1
					path := more.file(b, pool)
					for _, t := range all {
						t.add(b, pool, more, path)
					}
				}
			}
			b.StopTimer()
			for _, t := range all {
				t.report(b, names, all[0].load, float64(n/(10*indexParts)))
			}
			checkIndexAnswers(b, pool, all, queries)
		})
	}
}

func (t *indexed) make(b *testing.B, pool *pgxpool.Pool, table string, r rowset) {
	b.Helper()
	t.table = table
	if t.mixed {
		exec(b, pool, "CREATE TABLE "+table+" "+requiredColumns)
		exec(b, pool, "INSERT INTO "+table+" SELECT * FROM ("+r.sql()+") r ORDER BY hashint8(id)")
	} else {
		flatTable(b, pool, table, r)
	}
	if t.index != "" {
		exec(b, pool, "CREATE INDEX "+table+"_index ON "+table+" "+t.index)
		t.bytes = bytesOf(b, pool, "pg_indexes_size('"+table+"')")
	}
	t.rows = float64(r.total)
}

func (t *indexed) read(b *testing.B, pool *pgxpool.Pool, queries [3]string) {
	b.Helper()
	for i, sql := range queries {
		for range 5 {
			t.reads[i].add(explain(b, pool, fmt.Sprintf(sql, t.table)))
		}
	}
}

// add copies a batch after a checkpoint, so that every table writes its full-page images.
func (t *indexed) add(b *testing.B, pool *pgxpool.Pool, r rowset, path string) {
	b.Helper()
	settle(b, pool)
	t.wal += walDuring(b, pool, func() {
		began := time.Now()
		n, err := copyFile(b.Context(), pool, "COPY "+t.table+" FROM STDIN (FORMAT csv)", path)
		if err != nil || n != r.last-r.first+1 {
			b.Fatalf("%s: copied %d rows: %v", t.name, n, err)
		}
		t.load = append(t.load, time.Since(began).Seconds())
	})
}

func (t *indexed) report(b *testing.B, queries [3]string, noIndex []float64, rows float64) {
	b.Helper()
	for i, query := range queries {
		b.ReportMetric(median(t.reads[i].server), query+"-µs/"+t.name)
		b.ReportMetric(median(t.reads[i].pages), query+"-pages/"+t.name)
		if t.reads[i].indexOnly {
			b.ReportMetric(median(t.reads[i].heapFetches), query+"-heap-fetches/"+t.name)
		}
	}
	b.ReportMetric(median(t.load)/median(noIndex), "load-of-none/"+t.name)
	b.ReportMetric(t.bytes/t.rows, "index-bytes-per-row/"+t.name)
	b.ReportMetric(t.wal/rows/float64(len(t.load)), "wal-bytes-per-row/"+t.name)
}

// checkIndexAnswers checks that all tables return the same answers.
func checkIndexAnswers(b *testing.B, pool *pgxpool.Pool, all []*indexed, queries [3]string) {
	b.Helper()
	for _, sql := range queries {
		var want decimal.Decimal
		for i, t := range all {
			var count int64
			var total decimal.Decimal
			if err := pool.QueryRow(b.Context(), fmt.Sprintf(sql, t.table)).Scan(&count, &total); err != nil {
				b.Fatal(t.name, err)
			}
			if i == 0 {
				want = total
			}
			if count == 0 || !total.Equal(want) {
				b.Fatalf("%s: %s of %d rows, want %s", t.name, total, count, want)
			}
		}
	}
}
