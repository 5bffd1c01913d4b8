package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/pipeline/parquet"
)

// BenchmarkExport exports transactions and the rollups as Parquet, alternately with COPY
// of the same tables to CSV files. Only the export syncs its files. It then exports again
// without changes, and after a load of one day's rows.
func BenchmarkExport(b *testing.B) {
	for _, n := range sizes() {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			pool, runID := newServer(b).loaded(b, n)
			var export, all, transactions, unchanged, night []float64
			var maxMiB float64
			var csv map[string]int64
			var last parquet.Result
			for i := range b.N {
				var took map[string]time.Duration
				took, csv = copyTables(b, pool)
				var sum time.Duration
				for _, d := range took {
					sum += d
				}
				all, transactions = append(all, sum.Seconds()), append(transactions, took["transactions"].Seconds())
				dir := b.TempDir()
				settle(b, pool)
				resetPeak()
				first := timeExport(b, pool, dir)
				maxMiB = max(maxMiB, peak())
				export = append(export, first.Seconds)
				last = first

				again := timeExport(b, pool, dir)
				if again.Written != 0 {
					b.Fatalf("%d unchanged files were written", again.Written)
				}
				unchanged = append(unchanged, again.Seconds)
				loadFile(b, pool, runID, oneDay(b, i))
				if first = timeExport(b, pool, dir); first.Written != 4 {
					b.Fatalf("%d files were written after one day's rows", first.Written)
				}
				night = append(night, first.Seconds)
				if err := os.RemoveAll(dir); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(last.Rows)/median(export), "rows/s")
			b.ReportMetric(median(export)/median(all), "copies")
			b.ReportMetric(median(export)/median(transactions), "copies-of-transactions")
			b.ReportMetric(maxMiB, "peak-MiB")
			b.ReportMetric(median(unchanged)*1000, "ms/nothing")
			b.ReportMetric(median(night)/median(export), "of-all/night")
			var csvBytes int64
			for _, bytes := range csv {
				csvBytes += bytes
			}
			b.ReportMetric(float64(last.Bytes)/float64(csvBytes), "of-csv")
			b.ReportMetric(float64(last.Bytes)/float64(last.Rows), "bytes-per-row")
		})
	}
}

func timeExport(b *testing.B, pool *pgxpool.Pool, dir string) parquet.Result {
	b.Helper()
	target, err := new(bucket.Stores).Target(b.Context(), bucket.Path(dir))
	if err != nil {
		b.Fatal(err)
	}
	r, err := parquet.Export(b.Context(), parquet.Config{Pool: pool, Target: target})
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// copyTables copies the tables of an export to CSV files, one after the other.
func copyTables(b *testing.B, pool *pgxpool.Pool) (took map[string]time.Duration, bytes map[string]int64) {
	b.Helper()
	took, bytes = map[string]time.Duration{}, map[string]int64{}
	for _, table := range []string{"transactions", "user_months", "daily_totals", "user_summary"} {
		settle(b, pool)
		file, err := os.Create(filepath.Join(b.TempDir(), table+".csv"))
		if err != nil {
			b.Fatal(err)
		}
		began := time.Now()
		err = pool.AcquireFunc(b.Context(), func(conn *pgxpool.Conn) error {
			_, err := conn.Conn().PgConn().CopyTo(b.Context(), file, "COPY (SELECT * FROM "+table+") TO STDOUT (FORMAT csv)")
			return err
		})
		took[table] = time.Since(began)
		info, statErr := file.Stat()
		if err != nil || statErr != nil || file.Close() != nil {
			b.Fatal(err, statErr)
		}
		bytes[table] = info.Size()
		if err := os.Remove(file.Name()); err != nil {
			b.Fatal(err)
		}
	}
	return took, bytes
}

// oneDay writes a file whose rows all have the same date.
func oneDay(b *testing.B, night int) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "night.csv")
	text := []byte("transaction_id,user_id,amount,transaction_date\n")
	for i := range 1000 {
		text = fmt.Appendf(text, "NIGHT-%d-%d,%d,%d.25,2024-06-15\n", night, i, 1001+i, i)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		b.Fatal(err)
	}
	return path
}
