package bench

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/opentax/tally/internal/sqlfile"
	"github.com/opentax/tally/pipeline/load"
)

// BenchmarkFirstLoad loads a file into an empty database: cleaning, de-duplication,
// partitions, keys, rollups, rejects, ledger, commit. It compares the load with two peers
// in the same run: the yardstick, a \copy of the cleaned rows into the required schema,
// and an SQL script that does the complete work.
func BenchmarkFirstLoad(b *testing.B) {
	for _, n := range sizes() {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			s := newServer(b)
			dirty := dirtyFile(b, n, 1, n/10)
			var ours, yardstick, script time.Duration
			var maxMiB float64
			var stored map[string]float64
			for range b.N {
				tally, runID := s.tally(b)
				settle(b, tally)
				resetPeak()
				r, took := timeLoad(b, tally, runID, dirty)
				maxMiB = max(maxMiB, peak())
				if r.Read != n {
					b.Fatalf("read %d of %d rows", r.Read, n)
				}
				stored = storedBytes(b, tally, float64(r.Loaded))
				clean := cleanFile(b, tally, r.FileID)
				ours += took
				peer := s.yardstick(b)
				yardstick += timeYardstick(b, peer, clean, r.Loaded)
				s.drop(b, peer)
				peer = s.yardstick(b)
				script += timeScript(b, peer, tally, dirty)
				s.drop(b, peer)
				s.drop(b, tally)
			}
			report(b, n, ours)
			b.ReportMetric(ours.Seconds()/yardstick.Seconds(), "yardsticks")
			b.ReportMetric(ours.Seconds()/script.Seconds(), "scripts")
			b.ReportMetric(maxMiB, "peak-MiB")
			for what, bytes := range stored {
				b.ReportMetric(bytes, "bytes-per-row/"+what)
			}
		})
	}
}

// storedBytes returns the disk space per loaded row. touched-indexes is the part of the
// indexes that every load accesses at random, so they should fit in memory.
func storedBytes(b *testing.B, pool *pgxpool.Pool, rows float64) map[string]float64 {
	b.Helper()
	bytes := map[string]float64{}
	for what, sizes := range map[string]string{
		"transactions":    "SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('transactions') WHERE isleaf",
		"keys":            "pg_total_relation_size('transaction_keys')",
		"rollups":         "pg_total_relation_size('user_summary') + pg_total_relation_size('user_months') + pg_total_relation_size('daily_totals')",
		"rejects":         "pg_total_relation_size('etl_rejects')",
		"touched-indexes": "pg_relation_size('transaction_keys_pkey') + pg_relation_size('user_summary_pkey') + pg_relation_size('user_months_pkey')",
	} {
		bytes[what] = bytesOf(b, pool, sizes) / rows
	}
	return bytes
}

// BenchmarkAppend loads a file into a database with ten times as many rows, and compares
// the load with the yardstick's COPY of the same new rows. In one case all rows are new,
// in the other case 1 % of them exist.
func BenchmarkAppend(b *testing.B) {
	for _, n := range sizes() {
		for _, known := range []int64{0, 1} {
			b.Run(fmt.Sprintf("rows=%d/known=%d%%", n, known), func(b *testing.B) {
				s := newServer(b)
				base := newBase(b, s, 10*n)
				var ours, yardstick time.Duration
				var maxMiB float64
				for i := range b.N {
					dirty := mixedFile(b, n, uint64(2+i), base.path, known)
					settle(b, base.tally)
					resetPeak()
					r, took := timeLoad(b, base.tally, base.runID, dirty)
					maxMiB = max(maxMiB, peak())
					ours += took
					yardstick += timeYardstick(b, base.yardstick, cleanFile(b, base.tally, r.FileID), r.Loaded)
					if repeated := r.Duplicate + r.Conflict; known > 0 && repeated < n/100*70/100 {
						b.Fatalf("%d of %d rows were known", repeated, n/100)
					}
				}
				report(b, n, ours)
				b.ReportMetric(ours.Seconds()/yardstick.Seconds(), "yardsticks")
				b.ReportMetric(maxMiB, "peak-MiB")
			})
		}
	}
}

// BenchmarkSideBySide loads four files with one, two and four loads at a time. Concurrent
// loads clean in parallel and write one after the other. speedup is relative to one at a time.
func BenchmarkSideBySide(b *testing.B) {
	const files = 4
	n := min(*maxRows, 250_000)
	s := newServer(b)
	var dirty [files]string
	for i := range dirty {
		dirty[i] = dirtyFile(b, n, uint64(i), n/10)
	}
	took := map[int]time.Duration{}
	for range b.N {
		for _, loaders := range []int{files, 2, 1} {
			pool, runID := s.tally(b)
			settle(b, pool)
			loader := load.New(pool, nil)
			began := time.Now()
			var loads errgroup.Group
			loads.SetLimit(loaders)
			for _, path := range dirty {
				loads.Go(func() error {
					loadWith(b, loader, runID, path)
					return nil
				})
			}
			_ = loads.Wait() // a load that fails ends the benchmark
			took[loaders] += time.Since(began)
			s.drop(b, pool)
		}
	}
	report(b, files*n, took[files])
	b.ReportMetric(took[1].Seconds()/took[files].Seconds(), "speedup")
	b.ReportMetric(took[1].Seconds()/took[2].Seconds(), "speedup/loaders=2")
}

// BenchmarkLeastCommit loads a file of one row: the fixed cost of every load.
func BenchmarkLeastCommit(b *testing.B) {
	s := newServer(b)
	pool, runID := s.tally(b)
	var took time.Duration
	for i := range b.N {
		_, t := timeLoad(b, pool, runID, oneRow(b, i))
		took += t
	}
	report(b, 1, took)
}

func oneRow(b *testing.B, i int) string {
	b.Helper()
	path := b.TempDir() + "/one.csv"
	content := fmt.Sprintf("transaction_id,user_id,amount,transaction_date\nT%d,7,1.50,2024-01-05\n", i)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		b.Fatal(err)
	}
	return path
}

// report reports the measured time, without that of setup and peers.
func report(b *testing.B, rows int64, took time.Duration) {
	b.Helper()
	b.ReportMetric(float64(took.Nanoseconds())/float64(b.N), "ns/op")
	b.ReportMetric(float64(rows)*float64(b.N)/took.Seconds(), "rows/s")
}

func timeLoad(b *testing.B, pool *pgxpool.Pool, runID int64, path string) (load.Result, time.Duration) {
	b.Helper()
	loader := load.New(pool, nil)
	began := time.Now()
	r := loadWith(b, loader, runID, path)
	return r, time.Since(began)
}

// base is a pair of databases with the same rows: Tally's and the yardstick's.
type base struct {
	rows             int64
	path             string // of the dirty file
	tally, yardstick *pgxpool.Pool
	runID            int64
}

func newBase(b *testing.B, s *server, rows int64) base {
	b.Helper()
	db := base{rows: rows, path: dirtyFile(b, rows, 1, rows/10)}
	db.tally, db.runID = s.tally(b)
	r, _ := timeLoad(b, db.tally, db.runID, db.path)
	db.yardstick = s.yardstick(b)
	// The yardstick's indexes are built after the COPY: they are compact, which favors it.
	script := sqlfile.Parse(yardstickSQL)
	exec(b, db.yardstick, script.Get("drop_indexes"))
	timeYardstick(b, db.yardstick, cleanFile(b, db.tally, r.FileID), r.Loaded)
	exec(b, db.yardstick, script.Get("add_indexes"))
	// Autovacuum would have done this before the next night.
	exec(b, db.tally, "VACUUM ANALYZE")
	exec(b, db.yardstick, "VACUUM ANALYZE")
	return db
}
