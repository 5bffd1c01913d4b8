package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

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
// turns with the whole summary, which their ratios are to: of what the caller waits
// for, and of the time that the server plans and executes (EXPLAIN).
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
	for _, w := range ways { // a plan is kept, or not, by what the first executions cost
		for i := range 10 {
			if _, _, err := w.ask(b.Context(), int32(1+i), firstYear+i%(years-1)); err != nil {
				b.Fatal(w.name, err)
			}
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
	b.StopTimer()
	for _, w := range ways {
		b.ReportMetric(w.median(), "µs/"+w.name)
		b.ReportMetric(w.onServer(b), "server-µs/"+w.name)
	}
	for _, w := range ways[1:] {
		b.ReportMetric(w.median()/ways[0].median(), "of-summary/"+w.name)
		b.ReportMetric(w.onServer(b)/ways[0].onServer(b), "of-summary-on-server/"+w.name)
	}
}

// rangeWay is a way to ask for a user's year.
type rangeWay struct {
	name string
	ask  func(ctx context.Context, user int32, year int) (int64, money.Sum, error)
	took []float64 // microseconds

	conn      *pgx.Conn // on which the statement is prepared
	statement string    // a part of no other one's text
	arguments func(user int32, year int) string
	server    float64 // microseconds, 0 if not measured yet
}

// onServer is the median of planning and executing the statement as it is prepared.
func (w *rangeWay) onServer(b *testing.B) float64 {
	b.Helper()
	if w.server > 0 {
		return w.server
	}
	var name string
	if err := w.conn.QueryRow(b.Context(), "SELECT name FROM pg_prepared_statements WHERE statement LIKE $1", "%"+w.statement+"%").Scan(&name); err != nil {
		b.Fatal(w.name, err)
	}
	var all []float64
	for i := range rangeTurns {
		var text []byte
		sql := fmt.Sprintf("EXPLAIN (ANALYZE, TIMING OFF, FORMAT json) EXECUTE %s (%s)", name, w.arguments(int32(1+i%rangeUsers), firstYear+i%(years-1)))
		if err := w.conn.QueryRow(b.Context(), sql).Scan(&text); err != nil {
			b.Fatal(w.name, err)
		}
		var plans []struct {
			Planning  float64 `json:"Planning Time"`
			Execution float64 `json:"Execution Time"`
		}
		if err := json.Unmarshal(text, &plans); err != nil {
			b.Fatal(err)
		}
		all = append(all, 1000*(plans[0].Planning+plans[0].Execution))
	}
	slices.Sort(all)
	w.server = all[len(all)/2]
	return w.server
}

func (w *rangeWay) median() float64 {
	slices.Sort(w.took)
	return w.took[len(w.took)/2]
}

func day(year int, month time.Month, day int) civil.Date {
	return civil.Of(time.Date(year, month, day, 0, 0, 0, 0, time.UTC))
}

func rangeWays(b *testing.B, pool *pgxpool.Pool) []*rangeWay {
	b.Helper()
	config := pool.Config()
	config.MaxConns = 1 // so that it is known where a statement is prepared
	one, err := pgxpool.NewWithConfig(b.Context(), config)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(one.Close)
	store := summaries.NewStore(one)
	var conn *pgx.Conn
	if err := one.AcquireFunc(b.Context(), func(c *pgxpool.Conn) error { conn = c.Conn(); return nil }); err != nil {
		b.Fatal(err)
	}
	ranged := func(month time.Month, first int) func(context.Context, int32, int) (int64, money.Sum, error) {
		return func(ctx context.Context, user int32, year int) (int64, money.Sum, error) {
			s, err := store.Range(ctx, user, summaries.Days{From: day(year, month, first), To: day(year+1, month, first-1)})
			return s.Transactions, s.Total, err
		}
	}
	return []*rangeWay{
		{
			name: "summary", conn: conn, statement: "FROM user_summary s WHERE",
			ask: func(ctx context.Context, user int32, _ int) (int64, money.Sum, error) {
				s, err := store.Get(ctx, user)
				return s.Transactions, s.Total, err
			},
			arguments: func(user int32, _ int) string { return fmt.Sprint(user) },
		},
		{
			name: "whole-months", conn: conn, statement: "month BETWEEN $2 AND $3)", ask: ranged(time.January, 1),
			arguments: func(user int32, year int) string { return fmt.Sprintf("%d, '%d-01-01', '%d-12-01'", user, year, year) },
		},
		{
			name: "cut-months", conn: conn, statement: "UNION ALL%BETWEEN $6", ask: ranged(time.January, 15),
			arguments: func(user int32, year int) string {
				return fmt.Sprintf("%d, '%d-02-01', '%d-12-01', '%d-01-15', '%d-01-31', '%d-01-01', '%d-01-14'", user, year, year, year, year, year+1, year+1)
			},
		},
		byPrimaryKey(b, pool, "primary-key-planned", "force_custom_plan"),
		byPrimaryKey(b, pool, "primary-key-plan-kept", "force_generic_plan"),
	}
}

func byPrimaryKey(b *testing.B, pool *pgxpool.Pool, name, mode string) *rangeWay {
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
	return &rangeWay{
		name: name, conn: conn, statement: "FROM transactions WHERE",
		ask: func(ctx context.Context, user int32, year int) (n int64, total money.Sum, err error) {
			err = conn.QueryRow(ctx, query, pgx.QueryExecModeCacheStatement, user, day(year, time.January, 1), day(year, time.December, 31)).Scan(&n, &total)
			return n, total, err
		},
		arguments: func(user int32, year int) string { return fmt.Sprintf("%d, '%d-01-01', '%d-12-31'", user, year, year) },
	}
}

func sameAnswers(b *testing.B, ways []*rangeWay, user int32, year int) {
	b.Helper()
	wantCount, wantTotal, err := ways[3].ask(b.Context(), user, year)
	if err != nil || wantCount == 0 {
		b.Fatal(wantCount, err)
	}
	for _, w := range []*rangeWay{ways[1], ways[4]} {
		count, total, err := w.ask(b.Context(), user, year)
		if err != nil || count != wantCount || total != wantTotal {
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
