package ledger_test

import (
	"context"
	"fmt"

	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/migrations"
)

// Runs are listed newest first, a page at a time.
func ExampleStore_Runs() {
	ctx := context.Background()
	pool, release, err := testdb.Open(ctx, migrations.Schema{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer release()
	_, err = pool.Exec(ctx, `
		INSERT INTO etl_runs (kind, logical_date, requested_by) SELECT 'nightly', date '2024-02-27' + n, 'schedule' FROM generate_series(0, 2) n;
		INSERT INTO etl_attempts (run_id, attempt, worker, code_version) VALUES (1, 1, 'a:1', '1.0.0'), (2, 1, 'a:1', '1.0.0');
		INSERT INTO etl_outcomes (run_id, attempt, status, error) VALUES (1, 1, 'succeeded', NULL), (2, 1, 'failed', 'inbox/b.csv: the file is empty')`)
	if err != nil {
		fmt.Println(err)
		return
	}

	store := ledger.NewStore(pool)
	for last := int64(0); ; {
		page, err := store.Runs(ctx, last, 2)
		if err != nil || len(page) == 0 {
			return
		}
		for _, r := range page {
			fmt.Printf("run %d of %s: %s, attempts: %d\n", r.ID, r.LogicalDate, r.Status, r.Attempt)
		}
		last = page[len(page)-1].ID
	}
	// Output:
	// run 3 of 2024-02-29: due, attempts: 0
	// run 2 of 2024-02-28: failed, attempts: 1
	// run 1 of 2024-02-27: succeeded, attempts: 1
}
