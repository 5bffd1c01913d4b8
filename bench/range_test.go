package bench

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/shopspring/decimal"

	"github.com/opentax/tally/summaries"
)

const (
	// rangeUsers have a thousand transactions each, in ten years, in a table in which
	// others have ten.
	rangeUsers = 20
	firstYear  = 2015
	years      = 10
	// rangeTurns is how often an operation asks each way.
	rangeTurns = 200
)

// BenchmarkRange sums a year of a user with a thousand transactions, in a table of ten
// years: from the rollup by month, with the year's own months and with a year that cuts
// two, and from the rows by primary key, planned each time and planned once. All take
// turns with the whole summary, which their ratios are to; a statement that does
// nothing tells what the round trip is of it.
func BenchmarkRange(b *testing.B) {
	rows := sizes()[len(sizes())-1]
	pool, _ := database(b)
	fillYears(b, pool, rows)
	ways := rangeWays(b, pool)
	for user := int32(1); user <= rangeUsers; user++ { // each answer against the rows
		for year := firstYear + 1; year < firstYear+3; year++ {
			sameAnswers(b, ways, user, year)
		}
	}
	b.ResetTimer()
	for i := range b.N * rangeTurns {
		for _, w := range ways {
			began := time.Now()
			if _, _, err := w.ask(b.Context(), int32(1+i%rangeUsers), firstYear+i%(years-1)); err != nil {
				b.Fatal(w.name, err)
			}
			w.took = append(w.took, float64(time.Since(began).Nanoseconds())/1000)
		}
	}
	whole, trip := ways[1].median(), ways[0].median()
	for _, w := range ways {
		b.ReportMetric(w.median(), "µs/"+w.name)
	}
	for _, w := range ways[2:] {
		b.ReportMetric(w.median()/whole, "of-summary/"+w.name)
		b.ReportMetric((w.median()-trip)/(whole-trip), "of-summary-on-server/"+w.name)
	}
}

// rangeWay is a way to ask for a user's year.
type rangeWay struct {
	name string
	ask  func(ctx context.Context, user int32, year int) (int64, decimal.Decimal, error)
	took []float64 // microseconds
}

func (w *rangeWay) median() float64 {
	slices.Sort(w.took)
	return w.took[len(w.took)/2]
}

func day(year int, month time.Month, day int) time.Time {
	return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
}

func rangeWays(b *testing.B, pool *pgxpool.Pool) []*rangeWay {
	b.Helper()
	store := summaries.NewStore(pool)
	ranged := func(month time.Month, first int) func(context.Context, int32, int) (int64, decimal.Decimal, error) {
		return func(ctx context.Context, user int32, year int) (int64, decimal.Decimal, error) {
			s, err := store.Range(ctx, user, day(year, month, first), day(year+1, month, first-1))
			return s.Transactions, s.Total, err
		}
	}
	return []*rangeWay{
		{name: "nothing", ask: func(ctx context.Context, user int32, _ int) (n int64, _ decimal.Decimal, err error) {
			return 0, decimal.Decimal{}, pool.QueryRow(ctx, "SELECT $1::int", pgx.QueryExecModeCacheStatement, user).Scan(&n)
		}},
		{name: "summary", ask: func(ctx context.Context, user int32, _ int) (int64, decimal.Decimal, error) {
			s, err := store.Get(ctx, user)
			return s.Transactions, s.Total, err
		}},
		{name: "whole-months", ask: ranged(time.January, 1)},
		{name: "cut-months", ask: ranged(time.January, 15)},
		{name: "primary-key-planned", ask: byPrimaryKey(b, pool, "force_custom_plan")},
		{name: "primary-key-plan-kept", ask: byPrimaryKey(b, pool, "force_generic_plan")},
	}
}

func byPrimaryKey(b *testing.B, pool *pgxpool.Pool, mode string) func(context.Context, int32, int) (int64, decimal.Decimal, error) {
	b.Helper()
	conn, err := pgx.ConnectConfig(b.Context(), pool.Config().ConnConfig)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close(context.Background()) })
	if _, err := conn.Exec(b.Context(), "SET plan_cache_mode = "+mode); err != nil {
		b.Fatal(err)
	}
	const query = "SELECT count(*), sum(amount::numeric) FROM transactions WHERE user_id = $1 AND transaction_date BETWEEN $2 AND $3"
	return func(ctx context.Context, user int32, year int) (n int64, total decimal.Decimal, err error) {
		err = conn.QueryRow(ctx, query, pgx.QueryExecModeCacheStatement, user, day(year, time.January, 1), day(year, time.December, 31)).Scan(&n, &total)
		return n, total, err
	}
}

func sameAnswers(b *testing.B, ways []*rangeWay, user int32, year int) {
	b.Helper()
	wantCount, wantTotal, err := ways[4].ask(b.Context(), user, year)
	if err != nil || wantCount == 0 {
		b.Fatal(wantCount, err)
	}
	for _, w := range []*rangeWay{ways[2], ways[5]} {
		count, total, err := w.ask(b.Context(), user, year)
		if err != nil || count != wantCount || !total.Equal(wantTotal) {
			b.Fatalf("%s: %d and %s (%v), want %d and %s", w.name, count, total, err, wantCount, wantTotal)
		}
	}
}

// fillYears writes what loads would have written.
func fillYears(b *testing.B, pool *pgxpool.Pool, rows int64) {
	b.Helper()
	const days = "date '2015-01-01' + (i::bigint * 37 % 3653)::int"
	for _, sql := range []string{
		"SELECT tally_ensure_partition(m::date) FROM generate_series('2015-01-01'::timestamp, '2025-01-01', '1 month') m",
		fmt.Sprintf(`INSERT INTO transactions (transaction_id, user_id, amount, transaction_date, file_id, line)
			SELECT 'H' || u || '-' || i, u, (i::bigint * 7919 %% 1000000) / 100.0, %s, 1, i FROM generate_series(1, %d) u, generate_series(1, 1000) i`, days, rangeUsers),
		fmt.Sprintf(`INSERT INTO transactions (transaction_id, user_id, amount, transaction_date, file_id, line)
			SELECT 'T' || i, 1000 + i / 10, (i::bigint * 7919 %% 1000000) / 100.0, %s, 1, i FROM generate_series(1, %d) i`, days, rows),
		`INSERT INTO user_months SELECT user_id, date_trunc('month', transaction_date), count(*), sum(amount::numeric) FROM transactions GROUP BY 1, 2 ORDER BY 1, 2`,
		`INSERT INTO user_summary (user_id, total_transactions, total_amount, file_id)
			SELECT user_id, sum(total_transactions), sum(total_amount), 1 FROM user_months GROUP BY 1 ORDER BY 1`,
	} {
		exec(b, pool, "BEGIN; SET LOCAL tally.writer = 'tally'; "+sql+"; COMMIT")
	}
	exec(b, pool, "VACUUM (ANALYZE, FREEZE)")
	settle(b, pool)
}
