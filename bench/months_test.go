package bench

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/pipeline/load"
	"github.com/opentax/tally/pipeline/transform"
)

// BenchmarkMonths loads a file with one row for each of many months, and measures what the
// partitions cost afterwards: planning a look-up of one user's rows, a second file for all
// of these months, a file for one of them, and a file for a month that is new.
func BenchmarkMonths(b *testing.B) {
	for _, n := range []int{24, 240, 2400} {
		if int64(n) > *maxRows/40 {
			continue
		}
		b.Run(fmt.Sprintf("months=%d", n), func(b *testing.B) {
			var first, again, one, fresh, planning, found, missing []float64
			for range b.N {
				pool, runID := database(b)
				first = append(first, loadMonths(b, pool, runID, "A", 0, n))
				again = append(again, loadMonths(b, pool, runID, "B", 0, n))
				exec(b, pool, "VACUUM ANALYZE")
				for i := range 5 {
					one = append(one, loadMonths(b, pool, runID, fmt.Sprint("C", i), i, 1))
					fresh = append(fresh, loadMonths(b, pool, runID, fmt.Sprint("D", i), n+i, 1))
					planning = append(planning, explain(b, pool, "SELECT * FROM transactions WHERE user_id = 7 ORDER BY transaction_date, id LIMIT 50").planning)
					found = append(found, explain(b, pool, "SELECT tally_missing_partitions(ARRAY['1800-01-01'::date])").execution)
					missing = append(missing, explain(b, pool, "SELECT tally_missing_partitions(ARRAY['2090-01-01'::date])").execution)
				}
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(first), "first-load-ms")
			b.ReportMetric(median(again), "second-load-ms")
			b.ReportMetric(median(one), "one-month-ms")
			b.ReportMetric(median(fresh), "new-month-ms")
			b.ReportMetric(median(planning)/1000, "planning-ms")
			b.ReportMetric(median(found)/1000, "find-one-ms")
			b.ReportMetric(median(missing)/1000, "miss-one-ms")
		})
	}
}

// loadMonths loads a row for each of n months, and returns the time in milliseconds.
func loadMonths(b *testing.B, pool *pgxpool.Pool, runID int64, name string, from, n int) float64 {
	b.Helper()
	var content bytes.Buffer
	content.WriteString("transaction_id,user_id,amount,transaction_date\n")
	start := civil.MustParse("1800-01-01").Month()
	for i := range n {
		fmt.Fprintf(&content, "%s%d,7,1.50,%s\n", name, i, (start + civil.Month(from+i)).First())
	}
	path := filepath.Join(b.TempDir(), name+".csv")
	if err := os.WriteFile(path, content.Bytes(), 0o600); err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	r, err := load.New(pool, nil).Load(b.Context(), load.Request{
		RunID: runID, Attempt: 1, Source: "bench", Path: bucket.Path(path), CodeVersion: "bench",
		Rules: transform.Rules{From: "1800-01-01", To: "2100-01-01", NewMonths: n},
	})
	if err != nil || r.Loaded != int64(n) {
		b.Fatal(r, err)
	}
	return float64(time.Since(began)) / float64(time.Millisecond)
}
