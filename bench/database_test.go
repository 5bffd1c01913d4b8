package bench

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/migrations"
	"github.com/opentax/tally/pipeline"
)

// mostRows bounds the sizes that are run: CI runs the smallest alone.
var mostRows = flag.Int64("rows", 10_000, "run the sizes up to so many rows")

// sizes are the table sizes to measure at, those that the flag allows.
func sizes() []int64 {
	var s []int64
	for n := int64(10_000); n <= *mostRows; n *= 10 {
		s = append(s, n)
	}
	return s
}

// database is a fresh database and one run of its ledger to load files under.
func database(b *testing.B) (pool *pgxpool.Pool, runID int64) {
	b.Helper()
	pool = testdb.New(b, migrations.Schema{})
	err := pool.QueryRow(b.Context(), `INSERT INTO etl_runs (kind, logical_date, requested_by)
		VALUES ('manual', '2024-01-01', 'bench') RETURNING id`).Scan(&runID)
	if err == nil {
		_, err = pool.Exec(b.Context(), `INSERT INTO etl_attempts (run_id, attempt, worker, code_version)
			VALUES ($1, 1, 'bench', 'bench')`, runID)
	}
	if err != nil {
		b.Fatal(err)
	}
	return pool, runID
}

// dirtyFile is a generated file of n rows, a user for each ten.
func dirtyFile(b *testing.B, n int64, seed uint64) string {
	b.Helper()
	var content bytes.Buffer
	err := pipeline.Generate(b.Context(), &content, pipeline.Generator{Rows: n, Users: int(n / 10), Seed: seed})
	path := filepath.Join(b.TempDir(), "dirty.csv")
	if err == nil {
		err = os.WriteFile(path, content.Bytes(), 0o600)
	}
	if err != nil {
		b.Fatal(err)
	}
	return path
}

// load loads a file and insists that every row is accounted for.
func load(b *testing.B, pool *pgxpool.Pool, runID int64, path string) pipeline.Result {
	b.Helper()
	r, err := pipeline.NewLoader(pool).Load(b.Context(), pipeline.LoadRequest{
		RunID: runID, Attempt: 1, Source: "bench", Path: path, CodeVersion: "bench",
	})
	if err != nil {
		b.Fatal(err)
	}
	if r.Status != pipeline.StatusLoaded || r.Read != r.Loaded+r.Duplicate+r.Conflict+r.Rejected || r.Loaded == 0 {
		b.Fatalf("not loaded as it should be: %+v", r)
	}
	return r
}
