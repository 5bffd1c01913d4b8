package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/embedded"
	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/jobs"
	"github.com/opentax/tally/migrations"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/summaries"
)

// A run in the foreground loads a file; the summaries commit with its rows.
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
	result, err := service.Run(ctx, jobs.RunRequest{
		Paths:  []bucket.Location{bucket.Path(path)},
		Change: func(source *pipeline.Source) { source.Settle = new(time.Duration) }, // the file is whole
	})
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

// Midnight is that of the time zone, also on the day on which its clocks change.
func ExampleService_EnqueueDue() {
	onDatabase(func(ctx context.Context, pool *pgxpool.Pool) error {
		zone, err := time.LoadLocation("America/New_York")
		if err != nil {
			return err
		}
		service, err := jobs.New(pool, jobs.Config{TimeZone: zone})
		if err != nil {
			return err
		}
		// The first call starts the schedule.
		for _, now := range []time.Time{
			time.Date(2024, 3, 9, 12, 0, 0, 0, zone),
			time.Date(2024, 3, 9, 23, 59, 59, 0, zone),
			time.Date(2024, 3, 10, 0, 0, 0, 0, zone),
			time.Date(2024, 3, 11, 0, 0, 0, 0, zone),
		} {
			runs, err := service.EnqueueDue(ctx, now)
			if err != nil {
				return err
			}
			for _, r := range runs {
				fmt.Println(now.Format("2006-01-02 15:04 MST"), "run of", r.LogicalDate, r.Status)
			}
		}
		return service.Stop(ctx)
	})
	// Output:
	// 2024-03-10 00:00 EST run of 2024-03-09 due
	// 2024-03-11 00:00 EDT run of 2024-03-10 due
}

// A date has one run, however often it is requested.
func ExampleService_Backfill() {
	onDatabase(func(ctx context.Context, pool *pgxpool.Pool) error {
		service, err := jobs.New(pool, jobs.Config{})
		if err != nil {
			return err
		}
		first, _ := civil.New(2024, 2, 28)
		for range 2 {
			runs, err := service.Backfill(ctx, first, first+2, "ann")
			if err != nil {
				return err
			}
			for _, r := range runs {
				fmt.Printf("run of %s, created now: %t\n", r.LogicalDate, r.Created)
			}
			first++
		}
		return service.Stop(ctx)
	})
	// Output:
	// run of 2024-02-28, created now: true
	// run of 2024-02-29, created now: true
	// run of 2024-03-01, created now: true
	// run of 2024-02-29, created now: false
	// run of 2024-03-01, created now: false
	// run of 2024-03-02, created now: true
}

// onDatabase runs an example on an empty database.
func onDatabase(example func(context.Context, *pgxpool.Pool) error) {
	ctx := context.Background()
	pool, release, err := testdb.Open(ctx, migrations.Schema{})
	if err == nil {
		defer release()
		err = example(ctx, pool)
	}
	if err != nil {
		fmt.Println(err)
	}
}
