package bench

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/shopspring/decimal"

	"github.com/opentax/tally/summaries"
)

// BenchmarkSummary looks one user's summary up, in two ways: from user_summary
// by primary key, and by summing the user's rows on read. Both answers are held
// against each other before anything is timed.
func BenchmarkSummary(b *testing.B) {
	for _, n := range sizes() {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			pool, runID := database(b)
			load(b, pool, runID, dirtyFile(b, n, 1, n/10))
			users := someUsers(b, pool)
			store := summaries.NewStore(pool)
			lookUp := func(b *testing.B, user int32) (int64, decimal.Decimal) {
				s, err := store.Get(b.Context(), user)
				if err != nil {
					b.Fatal(err)
				}
				return s.Transactions, s.Total
			}
			sum := func(b *testing.B, user int32) (count int64, total decimal.Decimal) {
				const query = "SELECT count(*), sum(amount::numeric) FROM transactions WHERE user_id = $1"
				if err := pool.QueryRow(b.Context(), query, pgx.QueryExecModeCacheStatement, user).Scan(&count, &total); err != nil {
					b.Fatal(err)
				}
				return count, total
			}
			for _, user := range users {
				n1, t1 := lookUp(b, user)
				n2, t2 := sum(b, user)
				if n1 != n2 || !t1.Equal(t2) {
					b.Fatalf("user %d: %d and %s, summed %d and %s", user, n1, t1, n2, t2)
				}
			}
			b.Run("way=look-up", func(b *testing.B) { ask(b, users, lookUp) })
			b.Run("way=sum-on-read", func(b *testing.B) { ask(b, users, sum) })
		})
	}
}

func ask(b *testing.B, users []int32, query func(*testing.B, int32) (int64, decimal.Decimal)) {
	for range b.N {
		if n, _ := query(b, users[rand.IntN(len(users))]); n == 0 {
			b.Fatal("no transactions")
		}
	}
}

// someUsers are a hundred users that have transactions.
func someUsers(b *testing.B, pool *pgxpool.Pool) []int32 {
	b.Helper()
	rows, err := pool.Query(b.Context(), "SELECT user_id FROM user_summary ORDER BY hashint4(user_id) LIMIT 100")
	if err != nil {
		b.Fatal(err)
	}
	users, err := pgx.CollectRows(rows, pgx.RowTo[int32])
	if err != nil || len(users) == 0 {
		b.Fatal("no users", err)
	}
	return users
}
