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
	// rangeUsers is the number of users with a thousand transactions in ten years. All
	// other users have ten.
	rangeUsers = 20
	firstYear  = 2015
	years      = 10
	// rangeTurns is the number of queries per method and operation.
	rangeTurns = 200
)

// BenchmarkRange sums a year of a user with a thousand transactions in a table of ten
// years: from the rollup by month, for a calendar year and for a year that covers two
// months in part; and from the rows by primary key, with custom and with generic plans.
// The methods alternate with the complete summary. Metrics are ratios to it, of the
// response time and of the server's planning and execution time (EXPLAIN).
func BenchmarkRange(b *testing.B) {
	rows := sizes()[len(sizes())-1]
	pool, _ := database(b)
	fillYears(b, pool, rows)
	methods := rangeMethods(b, pool)
	for user := int32(1); user <= rangeUsers; user++ { // check each answer
		for year := firstYear + 1; year < firstYear+3; year++ {
			checkRangeAnswers(b, methods, user, year)
		}
	}
	for _, m := range methods { // PostgreSQL chooses between custom and generic plans after five executions
		for i := range 10 {
			if _, _, err := m.query(b.Context(), int32(1+i), firstYear+i%(years-1)); err != nil {
				b.Fatal(m.name, err)
			}
		}
	}
	b.ResetTimer()
	for i := range b.N * rangeTurns {
		for _, m := range methods {
			began := time.Now()
			if _, _, err := m.query(b.Context(), int32(1+i%rangeUsers), firstYear+i%(years-1)); err != nil {
				b.Fatal(m.name, err)
			}
			m.took = append(m.took, float64(time.Since(began).Nanoseconds())/1000)
		}
	}
	b.StopTimer()
	for _, m := range methods {
		b.ReportMetric(m.median(), "µs/"+m.name)
		b.ReportMetric(m.serverTime(b), "server-µs/"+m.name)
	}
	for _, m := range methods[1:] {
		b.ReportMetric(m.median()/methods[0].median(), "of-summary/"+m.name)
		b.ReportMetric(m.serverTime(b)/methods[0].serverTime(b), "of-summary-on-server/"+m.name)
	}
}

// rangeMethod is a method to sum a user's year.
type rangeMethod struct {
	name  string
	query func(ctx context.Context, user int32, year int) (int64, money.Sum, error)
	took  []float64 // microseconds

	conn      *pgx.Conn // where the statement is prepared
	statement string    // unique part of the statement's text
	arguments func(user int32, year int) string
	server    float64 // microseconds, 0 if not measured yet
}

// serverTime returns the median planning and execution time of the prepared statement, in
// microseconds.
func (m *rangeMethod) serverTime(b *testing.B) float64 {
	b.Helper()
	if m.server > 0 {
		return m.server
	}
	var name string
	if err := m.conn.QueryRow(b.Context(), "SELECT name FROM pg_prepared_statements WHERE statement LIKE $1", "%"+m.statement+"%").Scan(&name); err != nil {
		b.Fatal(m.name, err)
	}
	var all []float64
	for i := range rangeTurns {
		var text []byte
		sql := fmt.Sprintf("EXPLAIN (ANALYZE, TIMING OFF, FORMAT json) EXECUTE %s (%s)", name, m.arguments(int32(1+i%rangeUsers), firstYear+i%(years-1)))
		if err := m.conn.QueryRow(b.Context(), sql).Scan(&text); err != nil {
			b.Fatal(m.name, err)
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
	m.server = all[len(all)/2]
	return m.server
}

func (m *rangeMethod) median() float64 {
	slices.Sort(m.took)
	return m.took[len(m.took)/2]
}

func day(year int, month time.Month, day int) civil.Date {
	return civil.Of(time.Date(year, month, day, 0, 0, 0, 0, time.UTC))
}

func rangeMethods(b *testing.B, pool *pgxpool.Pool) []*rangeMethod {
	b.Helper()
	config := pool.Config()
	config.MaxConns = 1 // all statements are prepared on this connection
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
	return []*rangeMethod{
		{
			name: "summary", conn: conn, statement: "FROM user_summary WHERE",
			query: func(ctx context.Context, user int32, _ int) (int64, money.Sum, error) {
				s, err := store.Get(ctx, user)
				return s.Transactions, s.Total, err
			},
			arguments: func(user int32, _ int) string { return fmt.Sprint(user) },
		},
		{
			name: "whole-months", conn: conn, statement: "month BETWEEN $2 AND $3) part", query: ranged(time.January, 1),
			arguments: func(user int32, year int) string { return fmt.Sprintf("%d, '%d-01-01', '%d-12-01'", user, year, year) },
		},
		{
			name: "cut-months", conn: conn, statement: "UNION ALL%BETWEEN $6", query: ranged(time.January, 15),
			arguments: func(user int32, year int) string {
				return fmt.Sprintf("%d, '%d-02-01', '%d-12-01', '%d-01-15', '%d-01-31', '%d-01-01', '%d-01-14'", user, year, year, year, year, year+1, year+1)
			},
		},
		byPrimaryKey(b, pool, "primary-key-planned", "force_custom_plan"),
		byPrimaryKey(b, pool, "primary-key-plan-kept", "force_generic_plan"),
	}
}

func byPrimaryKey(b *testing.B, pool *pgxpool.Pool, name, mode string) *rangeMethod {
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
	return &rangeMethod{
		name: name, conn: conn, statement: "FROM transactions WHERE",
		query: func(ctx context.Context, user int32, year int) (n int64, total money.Sum, err error) {
			err = conn.QueryRow(ctx, query, pgx.QueryExecModeCacheStatement, user, day(year, time.January, 1), day(year, time.December, 31)).Scan(&n, &total)
			return n, total, err
		},
		arguments: func(user int32, year int) string { return fmt.Sprintf("%d, '%d-01-01', '%d-12-31'", user, year, year) },
	}
}

func checkRangeAnswers(b *testing.B, methods []*rangeMethod, user int32, year int) {
	b.Helper()
	wantCount, wantTotal, err := methods[3].query(b.Context(), user, year)
	if err != nil || wantCount == 0 {
		b.Fatal(wantCount, err)
	}
	for _, m := range []*rangeMethod{methods[1], methods[4]} {
		count, total, err := m.query(b.Context(), user, year)
		if err != nil || count != wantCount || total != wantTotal {
			b.Fatalf("%s: %d and %s (%v), want %d and %s", m.name, count, total, err, wantCount, wantTotal)
		}
	}
}

// fillYears writes rows and rollups directly, instead of by loads.
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
