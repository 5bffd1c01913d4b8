package bench

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/migrations"
	"github.com/opentax/tally/pipeline/load"
	"github.com/opentax/tally/pipeline/synthetic"
)

// maxRows limits the table sizes: CI runs only the smallest.
var maxRows = flag.Int64("rows", 10_000, "largest table size in rows")

// sizes returns the table sizes up to maxRows.
func sizes() []int64 {
	var s []int64
	for n := int64(10_000); n <= *maxRows; n *= 10 {
		s = append(s, n)
	}
	return s
}

// database creates a database on the shared test server, with a run to load files in.
func database(b *testing.B) (pool *pgxpool.Pool, runID int64) {
	b.Helper()
	pool = testdb.New(b, migrations.Schema{})
	return pool, newRun(b, pool)
}

func newRun(b *testing.B, pool *pgxpool.Pool) (runID int64) {
	b.Helper()
	err := pool.QueryRow(b.Context(), `INSERT INTO etl_runs (kind, logical_date, requested_by)
		VALUES ('manual', '2024-01-01', 'bench') RETURNING id`).Scan(&runID)
	if err == nil {
		_, err = pool.Exec(b.Context(), `INSERT INTO etl_attempts (run_id, attempt, worker, code_version)
			VALUES ($1, 1, 'bench', 'bench')`, runID)
	}
	if err != nil {
		b.Fatal(err)
	}
	return runID
}

// dirtyFile generates a file of n rows.
func dirtyFile(b *testing.B, n int64, seed uint64, users int64) string {
	b.Helper()
	return mixed(b, n, seed, users, func(io.Writer) error { return nil })
}

// mixedFile generates a file of n rows, of which the given percentage is copied from
// another file.
func mixedFile(b *testing.B, n int64, seed uint64, from string, percent int64) string {
	b.Helper()
	known := n * percent / 100
	return mixed(b, n-known, seed, 10*n/10, func(w io.Writer) error {
		file, err := os.Open(from)
		if err != nil {
			return err
		}
		defer file.Close()
		lines := bufio.NewScanner(file)
		lines.Scan() // skip the header
		for i := int64(0); known > 0 && lines.Scan(); i++ {
			if i%1000 == 7 { // spread over the file
				if _, err := fmt.Fprintln(w, lines.Text()); err != nil {
					return err
				}
				known--
			}
		}
		return lines.Err()
	})
}

func mixed(b *testing.B, n int64, seed uint64, users int64, more func(io.Writer) error) string {
	b.Helper()
	file, err := os.Create(filepath.Join(b.TempDir(), "dirty.csv"))
	if err != nil {
		b.Fatal(err)
	}
	err = synthetic.Write(b.Context(), file, synthetic.File{Rows: n, Users: int(users), Seed: seed})
	if err == nil {
		err = more(file)
	}
	if err == nil {
		err = file.Close()
	}
	if err != nil {
		b.Fatal(err)
	}
	return file.Name()
}

// loadFile loads a file and insists that every row is accounted for.
func loadFile(b *testing.B, pool *pgxpool.Pool, runID int64, path string) load.Result {
	b.Helper()
	return loadWith(b, load.New(pool, nil), runID, path)
}

func loadWith(b *testing.B, loader *load.Loader, runID int64, path string) load.Result {
	b.Helper()
	r, err := loader.Load(b.Context(), load.Request{
		RunID: runID, Attempt: 1, Source: "bench", Path: bucket.Path(path), CodeVersion: "bench",
	})
	if err != nil {
		b.Error(err)
		return r
	}
	if r.Status != load.StatusLoaded || r.Read != r.Loaded+r.Duplicate+r.Conflict+r.Rejected || r.Loaded == 0 {
		b.Errorf("not loaded as it should be: %+v", r)
	}
	return r
}
