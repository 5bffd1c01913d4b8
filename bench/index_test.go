package bench

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/shopspring/decimal"
)

// indexParts is how many times a turn adds rows.
const indexParts = 5

// indexed is a flat table with one index, or none.
type indexed struct {
	name  string
	index string // what follows CREATE INDEX ON table; none where empty
	table string
	mixed bool // its rows are in no order of their dates
	reads [3]readings
	load  []float64 // seconds of adding rows, beside the table without an index
	wal   float64
	bytes float64 // of the index
	rows  float64 // that it indexes
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

// indexQuestions are what is asked of each table: a user's sum, a day's, a month's.
func indexQuestions(r rowset) (names [3]string, sql [3]string) {
	const sum = "SELECT count(*), sum(amount::numeric) FROM %s WHERE "
	return [3]string{"user", "day", "month"}, [3]string{
		sum + fmt.Sprint("user_id = ", 1+r.users/2),
		sum + "transaction_date = " + r.day(),
		sum + "transaction_date BETWEEN " + r.day() + " AND " + r.day() + " + 29",
	}
}

// BenchmarkIndexes asks flat tables of the same rows, a year of them in the order of
// their dates (in one case in none), that have one index each, what a user, a day and
// a month sum up to (with the rows that had to be fetched from the table, where the scan
// is an index-only one); and copies a tenth more of the rows into each, in turns with the table
// without an index, the log's size beside it. fsync is on. A turn's rows come in five
// parts, since one alone would leave load-of-none to chance.
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
			names, questions := indexQuestions(r)
			b.ResetTimer()
			for turn := range b.N {
				for _, t := range all {
					t.ask(b, pool, questions)
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
			sameInAll(b, pool, all, questions)
		})
	}
}

func (t *indexed) make(b *testing.B, pool *pgxpool.Pool, table string, r rowset) {
	b.Helper()
	t.table = table
	if t.mixed {
		exec(b, pool, "CREATE TABLE "+table+" "+missionColumns)
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

func (t *indexed) ask(b *testing.B, pool *pgxpool.Pool, questions [3]string) {
	b.Helper()
	for i, sql := range questions {
		for range 5 {
			t.reads[i].add(explain(b, pool, fmt.Sprintf(sql, t.table)))
		}
	}
}

// add copies rows, each part's own, after a checkpoint, so that every table pays for
// its full pages.
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

func (t *indexed) report(b *testing.B, questions [3]string, bare []float64, rows float64) {
	b.Helper()
	for i, question := range questions {
		b.ReportMetric(median(t.reads[i].server), question+"-µs/"+t.name)
		b.ReportMetric(median(t.reads[i].pages), question+"-pages/"+t.name)
		if t.reads[i].indexOnly {
			b.ReportMetric(median(t.reads[i].heapFetches), question+"-heap-fetches/"+t.name)
		}
	}
	b.ReportMetric(median(t.load)/median(bare), "load-of-none/"+t.name)
	b.ReportMetric(t.bytes/t.rows, "index-bytes-per-row/"+t.name)
	b.ReportMetric(t.wal/rows/float64(len(t.load)), "wal-bytes-per-row/"+t.name)
}

// sameInAll holds the answers of all tables against each other.
func sameInAll(b *testing.B, pool *pgxpool.Pool, all []*indexed, questions [3]string) {
	b.Helper()
	for _, sql := range questions {
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
