package summaries_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/migrations"
	"github.com/opentax/tally/summaries"
)

// loaded is a database with four transactions of two users.
func loaded(ctx context.Context) (pool *pgxpool.Pool, release func()) {
	pool, release, err := testdb.Open(ctx, migrations.Schema{})
	if err == nil {
		err = asTally(ctx, pool, append(run(), rows...)...)
	}
	if err != nil {
		panic(err)
	}
	return pool, release
}

// A summary is one read by primary key.
func ExampleStore_Get() {
	ctx := context.Background()
	pool, release := loaded(ctx)
	defer release()

	store := summaries.NewStore(pool)
	s, err := store.Get(ctx, 7)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%d transactions, %s in all, %s on average\n", s.Transactions, s.Total, s.Average())
	_, err = store.Get(ctx, 9)
	fmt.Println(errors.Is(err, summaries.ErrNotFound))
	// Output:
	// 3 transactions, 1.3 in all, 0.43 on average
	// true
}

// Verify reports what was changed past Tally.
func ExampleVerify() {
	ctx := context.Background()
	pool, release := loaded(ctx)
	defer release()

	verify := func() {
		v, err := summaries.Verify(ctx, pool, summaries.VerifyOptions{}, func(d summaries.Drift) { fmt.Println(d) })
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%d transactions of %d users on %d days: %d differences\n", v.Transactions, v.Users, v.Days, v.Drifts)
	}
	verify()
	if err := asTally(ctx, pool, "UPDATE daily_totals SET total_amount = 0.3 WHERE transaction_date = '2024-02-05'"); err != nil {
		fmt.Println(err)
		return
	}
	verify()
	// Output:
	// 4 transactions of 2 users on 2 days: 0 differences
	// daily_totals, transaction_date 2024-02-05: total_amount is 0.3, recomputed 0.2
	// 4 transactions of 2 users on 2 days: 1 differences
}

// A rollup is declared once; what ranges over all of them follows.
func ExampleRollups() {
	for _, r := range summaries.Rollups() {
		if r.PerUser() {
			fmt.Println(r.Table, "by", r.KeyColumns())
		}
	}
	// Output:
	// user_months by [user_id month]
	// user_summary by [user_id]
}
