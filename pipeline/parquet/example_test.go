package parquet_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/migrations"
	"github.com/opentax/tally/pipeline/load"
	tally "github.com/opentax/tally/pipeline/parquet"
)

// An export is the files that its manifest names.
func ExampleExport() {
	ctx := context.Background()
	pool, release, err := testdb.Open(ctx, migrations.Schema{})
	if err != nil {
		panic(err)
	}
	defer release()
	dir, err := os.MkdirTemp("", "tally-example-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)

	// A file is loaded as part of a run.
	_, err = pool.Exec(ctx, `INSERT INTO etl_runs (kind, logical_date, requested_by) VALUES ('manual', '2024-01-31', 'example');
		INSERT INTO etl_attempts (run_id, attempt, worker, code_version) VALUES (1, 1, 'example', 'v1')`, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		panic(err)
	}
	source := filepath.Join(dir, "january.csv")
	if err := os.WriteFile(source, []byte(header+"T1,7,10.50,2024-01-05\nT2,7,-0.25,2024-01-06\nT3,8,3,2024-02-01\n"), 0o600); err != nil {
		panic(err)
	}
	if _, err := load.New(pool, nil).Load(ctx, load.Request{RunID: 1, Attempt: 1, Source: "example", Path: bucket.Path(source), CodeVersion: "v1"}); err != nil {
		panic(err)
	}

	var stores bucket.Stores
	defer stores.Close()
	target, err := stores.Target(ctx, bucket.Path(filepath.Join(dir, "lake")))
	if err != nil {
		panic(err)
	}
	result, err := tally.Export(ctx, tally.Config{Pool: pool, Target: target})
	if err != nil {
		panic(err)
	}
	content, err := os.ReadFile(filepath.Join(dir, "lake", tally.ManifestName))
	if err != nil {
		panic(err)
	}
	var manifest tally.Manifest
	if err := json.Unmarshal(content, &manifest); err != nil {
		panic(err)
	}
	fmt.Println(result.Rows, "transactions,", result.TotalAmount, "in all")
	for _, f := range manifest.Files {
		if f.Table == "transactions" {
			fmt.Println(filepath.Dir(f.Path), f.Rows, f.Sum)
		}
	}
	// Output:
	// 3 transactions, 13.25 in all
	// transactions/month=2024-01-01 2 10.25
	// transactions/month=2024-02-01 1 3
}
