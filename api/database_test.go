package api

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/migrations"
	"github.com/opentax/tally/summaries"
)

// load writes transactions and the summaries that they make.
func load(tb testing.TB, pool *pgxpool.Pool, userID int32, amounts ...float64) {
	tb.Helper()
	ctx := context.Background()
	require.NoError(tb, pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL tally.writer = 'tally'"); err != nil {
			return err
		}
		for _, month := range []string{"2024-01-01", "2024-02-01"} {
			if _, err := tx.Exec(ctx, "SELECT tally_ensure_partition($1::text::date)", month); err != nil {
				return err
			}
		}
		for i, amount := range amounts {
			day := time.Date(2024, 2, 29-(i*11)%40, 0, 0, 0, 0, time.UTC)
			if _, err := tx.Exec(ctx, `INSERT INTO transactions (transaction_id, user_id, amount, transaction_date, file_id, line)
				VALUES ($1, $2, $3, $4, 1, $5)`, fmt.Sprintf("T%d-%d", userID, i), userID, amount, day, i+2); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(ctx, `INSERT INTO user_months
			SELECT user_id, date_trunc('month', transaction_date), count(*), sum(amount::numeric) FROM transactions WHERE user_id = $1 GROUP BY 1, 2`, userID); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO user_summary (user_id, total_transactions, total_amount, file_id)
			SELECT user_id, count(*), sum(amount::numeric), 1 FROM transactions WHERE user_id = $1 GROUP BY user_id`, userID)
		return err
	}))
}

func onDatabase(tb testing.TB) (http.Handler, *pgxpool.Pool) {
	tb.Helper()
	pool := testdb.New(tb, migrations.Schema{})
	return newHandler(tb, Config{Summaries: summaries.NewStore(pool)}), pool
}

func TestSummaryFromDatabase(t *testing.T) {
	t.Parallel()
	h, pool := onDatabase(t)
	load(t, pool, 1633, 0.1, 0.2, -0.4)
	load(t, pool, 2147483647, 99999999999.1234)
	assert.Equal(t, `{"user_id":1633,"total_transactions":3,"total_amount":-0.10,"average_transaction_amount":-0.03}`+"\n",
		ask(h, http.MethodGet, "/transactions/1633/summary").Body.String())
	assert.Equal(t, `{"user_id":2147483647,"total_transactions":1,"total_amount":99999999999.1234,"average_transaction_amount":99999999999.12}`+"\n",
		ask(h, http.MethodGet, "/transactions/2147483647/summary").Body.String())
	requireProblem(t, ask(h, http.MethodGet, "/transactions/1999/summary"), http.StatusNotFound, "no-transactions")
}

func TestTransactionsFromDatabase(t *testing.T) {
	t.Parallel()
	h, pool := onDatabase(t)
	var amounts []float64
	for i := range 25 {
		amounts = append(amounts, float64(i)/10)
	}
	load(t, pool, 7, amounts...)
	load(t, pool, 8, 1)

	seen := map[string]bool{}
	last := ""
	for target := "/transactions/7?limit=4"; target != ""; {
		w := ask(h, http.MethodGet, target)
		for _, item := range readPage(t, w).Items {
			id, day := item["transaction_id"].(string), item["transaction_date"].(string)
			assert.False(t, seen[id], id)
			assert.GreaterOrEqual(t, day, last)
			assert.EqualValues(t, 7, item["user_id"])
			seen[id], last = true, day
		}
		target = nextLink(t, w)
	}
	assert.Len(t, seen, 25)
	assert.Contains(t, ask(h, http.MethodGet, "/transactions/8").Body.String(), `"amount":1.00,"transaction_date":"2024-02-29","file_id":1,"line":2}]`)
	requireProblem(t, ask(h, http.MethodGet, "/transactions/9"), http.StatusNotFound, "no-transactions")
}

// TestDatabaseFaultShowsNoSQL takes the tables away.
func TestDatabaseFaultShowsNoSQL(t *testing.T) {
	t.Parallel()
	h, pool := onDatabase(t)
	for _, table := range []string{"user_summary", "transactions"} {
		_, err := pool.Exec(t.Context(), "ALTER TABLE "+table+" RENAME TO "+table+"_away")
		require.NoError(t, err)
	}
	for _, target := range []string{"/transactions/1/summary", "/transactions/1"} {
		w := ask(h, http.MethodGet, target)
		p := requireProblem(t, w, http.StatusInternalServerError, "internal-error")
		p.RequestID = "" // random letters
		assert.NotRegexp(t, `(?i)select|relation|user_summary|sqlstate|42P01|pgx`, fmt.Sprint(p))
	}
}

func TestUnreachableDatabase(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	require.NoError(t, err)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	t.Cleanup(func() { _ = silent.Close() })

	for address, problem := range map[string]string{closed.Addr().String(): "unavailable", silent.Addr().String(): "timeout"} {
		pool, err := pgxpool.New(t.Context(), "postgres://absent_role@"+address+"/nowhere?sslmode=disable")
		require.NoError(t, err)
		t.Cleanup(pool.Close)
		h := newHandler(t, Config{Summaries: summaries.NewStore(pool), RequestTimeout: 200 * time.Millisecond})
		w := ask(h, http.MethodGet, "/transactions/1/summary")
		requireProblem(t, w, http.StatusServiceUnavailable, problem)
		assert.NotEmpty(t, w.Header().Get("Retry-After"))
		assert.NotContains(t, w.Body.String(), "127.0.0.1")
		assert.NotContains(t, w.Body.String(), "absent_role")
	}
}
