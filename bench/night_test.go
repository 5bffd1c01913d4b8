package bench

import (
	_ "embed"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/internal/sqlfile"
	"github.com/opentax/tally/pipeline/load"
)

//go:embed floor.sql
var floorSQL string

// BenchmarkNight loads a nightly file of 10,000 rows into a database with a thousand
// times as many rows (limited by -rows). It compares the load with a load of the same
// file into an empty database, with the yardstick, and with the floor: the rows, keys and
// rollups of another such file written into the same tables by plain statements. wal-MiB is
// what the load writes to the WAL, floor-wal-MiB what the floor writes.
func BenchmarkNight(b *testing.B) {
	const night = 10_000
	s := newServer(b)
	base := newBase(b, s, max(10*night, *maxRows))
	var ours, empty, yardstick, floor time.Duration
	var wal, floorWAL float64
	for i := range b.N {
		dirty := dirtyFile(b, night, uint64(100+2*i), base.rows/10)
		settle(b, base.tally)
		var r load.Result
		wal += walDuring(b, base.tally, func() {
			var took time.Duration
			r, took = timeLoad(b, base.tally, base.runID, dirty)
			ours += took
		})
		yardstick += timeYardstick(b, base.yardstick, cleanFile(b, base.tally, r.FileID), r.Loaded)
		fresh, runID := s.tally(b)
		settle(b, fresh)
		first, took := timeLoad(b, fresh, runID, dirty)
		empty += took
		if first.Rejected != r.Rejected {
			b.Fatalf("%d rejected rows in the empty database, want %d", first.Rejected, r.Rejected)
		}
		other, _ := timeLoad(b, fresh, runID, dirtyFile(b, night, uint64(101+2*i), base.rows/10))
		took, bytes := timeFloor(b, base.tally, cleanFile(b, fresh, other.FileID))
		floor += took
		floorWAL += bytes
		s.drop(b, fresh)
	}
	report(b, night, ours)
	b.ReportMetric(float64(base.rows), "stored-rows")
	b.ReportMetric(ours.Seconds()/empty.Seconds(), "empties")
	b.ReportMetric(ours.Seconds()/yardstick.Seconds(), "yardsticks")
	b.ReportMetric(ours.Seconds()/floor.Seconds(), "floors")
	b.ReportMetric(wal/float64(b.N)/(1<<20), "wal-MiB")
	b.ReportMetric(floorWAL/float64(b.N)/(1<<20), "floor-wal-MiB")
}

// timeFloor times the writes of cleaned rows into Tally's tables, and returns the bytes of
// their WAL.
func timeFloor(b *testing.B, pool *pgxpool.Pool, clean string) (took time.Duration, wal float64) {
	b.Helper()
	script := sqlfile.Parse(floorSQL)
	exec(b, pool, script.Get("rows"))
	if _, err := copyFile(b.Context(), pool, script.Get("copy"), clean); err != nil {
		b.Fatal(err)
	}
	exec(b, pool, script.Get("deltas"))
	settle(b, pool)
	wal = walDuring(b, pool, func() {
		began := time.Now()
		exec(b, pool, script.Get("write"))
		took = time.Since(began)
	})
	exec(b, pool, script.Get("end"))
	return took, wal
}
