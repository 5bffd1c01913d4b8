package bench

import (
	"fmt"
	"testing"
)

// BenchmarkLoad is a first load into an empty database: cleaning,
// de-duplicating, partitions, keys, rollups, rejects, ledger, commit.
func BenchmarkLoad(b *testing.B) {
	for _, n := range sizes() {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			path := dirtyFile(b, n, 1)
			for range b.N {
				b.StopTimer()
				pool, runID := database(b)
				b.StartTimer()
				if r := load(b, pool, runID, path); r.Read != n {
					b.Fatalf("read %d of %d rows", r.Read, n)
				}
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
