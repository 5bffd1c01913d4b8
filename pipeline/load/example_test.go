package load_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/migrations"
	"github.com/opentax/tally/pipeline/load"
)

// A file is loaded as part of an attempt of a run, in one commit. The same content under
// another name is known.
func ExampleLoader_Load() {
	if err := loadTwice(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// loaded: read 4, loaded 2, duplicate 1, conflict 0, rejected 1, in all 10.25
	// unchanged: loaded as january.csv
}

func loadTwice(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "tally-example-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	pool, release, err := testdb.Open(ctx, migrations.Schema{})
	if err != nil {
		return err
	}
	defer release()
	_, err = pool.Exec(ctx, `INSERT INTO etl_runs (kind, logical_date, requested_by) VALUES ('manual', '2024-01-31', 'example');
		INSERT INTO etl_attempts (run_id, attempt, worker, code_version) VALUES (1, 1, 'example', 'example')`, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		return err
	}

	content := "transaction_id,user_id,amount,transaction_date\nT1,7,10.50,2024-01-05\nT2,7,-0.25,2024-01-06\nT2,7,(0.25),2024/1/6\nT3,8,,2024-01-06\n"
	loader := load.New(pool, nil)
	for _, name := range []string{"january.csv", "again.csv"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return err
		}
		r, err := loader.Load(ctx, load.Request{RunID: 1, Attempt: 1, Source: "example", Path: bucket.Path(path), CodeVersion: "example"})
		switch {
		case err != nil:
			return err
		case r.Status == load.StatusUnchanged:
			fmt.Printf("%s: loaded as %s\n", r.Status, filepath.Base(r.LoadedAs))
		default:
			fmt.Printf("%s: read %d, loaded %d, duplicate %d, conflict %d, rejected %d, in all %s\n",
				r.Status, r.Read, r.Loaded, r.Duplicate, r.Conflict, r.Rejected, r.TotalAmount)
		}
	}
	return nil
}
