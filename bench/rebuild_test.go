package bench

import (
	"fmt"
	"testing"
	"time"

	"github.com/opentax/tally/summaries"
)

// BenchmarkRebuild rebuilds all tables after few rows were changed by hand, and after all rows of
// the rollups, or of the keys, were lost: how long it takes, and how long loads wait at most.
func BenchmarkRebuild(b *testing.B) {
	for _, n := range sizes() {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			pool, _ := newServer(b).loaded(b, n)
			for range b.N {
				for name, sql := range map[string]string{
					"few":     "UPDATE user_summary SET total_amount = total_amount + 1 WHERE user_id IN (SELECT user_id FROM user_summary LIMIT 3)",
					"rollups": "TRUNCATE user_summary, user_months, daily_totals",
					"keys":    "TRUNCATE transaction_keys",
				} {
					exec(b, pool, "BEGIN; SET LOCAL tally.writer = 'tally'; "+sql+"; COMMIT")
					began := time.Now()
					built, err := summaries.Rebuild(b.Context(), pool, summaries.RebuildOptions{})
					if err != nil || built.Changed() == 0 {
						b.Fatal(built, err)
					}
					b.ReportMetric(time.Since(began).Seconds(), "s/"+name)
					b.ReportMetric(built.Waited, "s-locked/"+name)
				}
			}
			if v, err := summaries.Verify(b.Context(), pool, summaries.VerifyOptions{}, func(summaries.Drift) {}); err != nil || !v.Clean() {
				b.Fatal(v, err)
			}
		})
	}
}
