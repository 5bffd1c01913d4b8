package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/embedded"
	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/jobs"
	"github.com/opentax/tally/migrations"
	"github.com/opentax/tally/summaries"
)

// A file is loaded as part of a run, which the ledger keeps; the summaries are
// there with the rows.
func Example() {
	if err := loadAndLookUp(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// loaded: read 3, loaded 2, rejected 1
	// user 7 has 2 transactions, 10.25 in all, 5.13 on average
}

func loadAndLookUp(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "tally-example-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	server, err := embedded.Start(ctx, embedded.Config{Dir: dir, BinDir: os.Getenv("TALLY_TEST_POSTGRES")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	pool, err := postgres.Open(ctx, postgres.Config{URL: server.URL()})
	if err != nil {
		return err
	}
	defer pool.Close()
	if _, err := migrations.Up(ctx, pool); err != nil {
		return err
	}

	path := filepath.Join(dir, "january.csv")
	content := "transaction_id,user_id,amount,transaction_date\nT1,7,10.50,2024-01-05\nT2,7,-0.25,2024-01-06\nT3,8,,2024-01-06\n"
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		return err
	}
	service, err := jobs.New(pool, jobs.Config{})
	if err != nil {
		return err
	}
	result, err := service.Run(ctx, jobs.RunRequest{Paths: []bucket.Location{bucket.Path(path)}})
	if err != nil {
		return err
	}
	for _, f := range result.Files {
		fmt.Printf("%s: read %d, loaded %d, rejected %d\n", f.Status, f.Read, f.Loaded, f.Rejected)
	}
	summary, err := summaries.NewStore(pool).Get(ctx, 7)
	if err != nil {
		return err
	}
	fmt.Printf("user %d has %d transactions, %s in all, %s on average\n", summary.UserID, summary.Transactions, summary.Total, summary.Average())
	return service.Stop(ctx)
}
