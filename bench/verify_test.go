package bench

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/summaries"
)

// BenchmarkVerify verifies all rollups, keys and the ledger, alternately with the sums of all
// users in one statement, and once with a comparison of each key.
func BenchmarkVerify(b *testing.B) {
	for _, n := range sizes() {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			pool, _ := newServer(b).loaded(b, n)
			var sums, verify []float64
			for range b.N {
				began := time.Now()
				if _, err := pool.Exec(b.Context(), "SELECT user_id, count(*), sum(amount::numeric) FROM transactions GROUP BY user_id"); err != nil {
					b.Fatal(err)
				}
				sums = append(sums, time.Since(began).Seconds())
				verify = append(verify, timeVerify(b, pool, summaries.VerifyOptions{}))
			}
			b.ReportMetric(median(sums), "s/sums")
			b.ReportMetric(median(verify), "s/verify")
			b.ReportMetric(median(verify)/median(sums), "sums")
			b.ReportMetric(timeVerify(b, pool, summaries.VerifyOptions{Full: true})/median(sums), "sums/full")
		})
	}
}

func timeVerify(b *testing.B, pool *pgxpool.Pool, o summaries.VerifyOptions) float64 {
	b.Helper()
	began := time.Now()
	v, err := summaries.Verify(b.Context(), pool, o, func(d summaries.Drift) { b.Error(d) })
	if err != nil || v.Transactions == 0 {
		b.Fatal(v, err)
	}
	return time.Since(began).Seconds()
}
