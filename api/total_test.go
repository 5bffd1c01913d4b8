package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTotalsFromDatabase(t *testing.T) {
	t.Parallel()
	h, pool := onDatabase(t)
	load(t, pool, 7, 0.1, 0.2, -0.4, 5, 6) // on 2024-02-29, -18, -07, 2024-01-27 and, as the days repeat, 02-25
	load(t, pool, 8, 1)
	require.NoError(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), "SET LOCAL tally.writer = 'tally'")
		if err == nil {
			_, err = tx.Exec(t.Context(), `INSERT INTO daily_totals (transaction_date, total_transactions, total_amount, file_id)
				SELECT transaction_date, count(*), sum(amount::numeric), 1 FROM transactions GROUP BY 1`)
		}
		return err
	}))
	for target, want := range map[string]string{
		"/totals?by=month":                                        `[{"start":"2024-01-01","total_transactions":1,"total_amount":5.00},{"start":"2024-02-01","total_transactions":5,"total_amount":6.90}]`,
		"/totals?from=2024-02-29":                                 `[{"start":"2024-02-29","total_transactions":2,"total_amount":1.10}]`,
		"/transactions/7/totals?by=month":                         `[{"start":"2024-01-01","total_transactions":1,"total_amount":5.00},{"start":"2024-02-01","total_transactions":4,"total_amount":5.90}]`,
		"/transactions/7/totals?from=2024-02-07&to=2024-02-18":    `[{"start":"2024-02-07","total_transactions":1,"total_amount":-0.40},{"start":"2024-02-18","total_transactions":1,"total_amount":0.20}]`,
		"/transactions/8/totals?to=2024-02-28":                    `[]`,
		"/totals?from=2025-01-01":                                 `[]`,
		"/transactions/7/totals?by=month&from=2024-02-18&limit=9": `[{"start":"2024-02-01","total_transactions":3,"total_amount":6.30}]`,
	} {
		w := ask(h, http.MethodGet, target)
		assert.Equal(t, http.StatusOK, w.Code, target)
		assert.Equal(t, `{"items":`+want+"}\n", w.Body.String(), target)
	}
	requireProblem(t, ask(h, http.MethodGet, "/transactions/9/totals"), http.StatusNotFound, "no-transactions")

	var days []string
	for target := "/totals?limit=2"; target != ""; {
		w := ask(h, http.MethodGet, target)
		for _, item := range readPage(t, w).Items {
			days = append(days, item["start"].(string))
		}
		target = nextLink(t, w)
	}
	assert.Equal(t, []string{"2024-01-27", "2024-02-07", "2024-02-18", "2024-02-25", "2024-02-29"}, days)
}

func TestTotalsRefuseWhatIsNoRange(t *testing.T) {
	t.Parallel()
	h, _ := onDatabase(t)
	cursor := position{19000, 1}.cursor("totals?by=day")
	for target, location := range map[string]string{
		"/totals?from=2024-02-30":               "query.from",
		"/totals?to=24-02-03":                   "query.to",
		"/totals?from=0000-01-01":               "query.from",
		"/totals?from=2024-02-02&to=2024-02-01": "query.to",
		"/totals?by=week":                       "query.by",
		"/totals?until=2024-01-01":              "query",
		"/totals?cursor=" + position{1 << 40, 1}.cursor("totals?by=day"): "query.cursor",
		"/totals?by=month&cursor=" + cursor:                              "query.cursor",
		"/transactions/7/totals?cursor=" + cursor:                        "query.cursor",
		"/transactions/0/totals":                                         "path.user_id",
		"/transactions/2147483648/totals":                                "path.user_id",
		"/summaries":                                                     "query.user_id",
		"/summaries?user_id=":                                            "query.user_id",
		"/summaries?user_id=1,x":                                         "query.user_id",
		"/summaries?user_id=0":                                           "query.user_id",
		"/summaries?user_id=2147483648":                                  "query.user_id",
		"/summaries?user_id=1" + strings.Repeat(",2", 1000):              "query.user_id",
		"/summaries?user_id=1&user_id=0":                                 "query.user_id",
		"/summaries?user_id=1&user_id=":                                  "query.user_id",
		"/summaries?user_id=1&user_id=2,x":                               "query.user_id",
		"/summaries?user_id=1" + strings.Repeat("&user_id=2", 1000):      "query.user_id",
		"/summaries?user_id=1,2" + strings.Repeat("&user_id=2", 999):     "query.user_id",
		"/totals?by=day&by=day":                                          "query.by",
	} {
		p := requireProblem(t, ask(h, http.MethodGet, target), http.StatusUnprocessableEntity, "invalid-request")
		require.NotEmpty(t, p.Errors, target)
		assert.Equal(t, location, p.Errors[0].Location, target)
	}
	assert.Equal(t, http.StatusOK, ask(h, http.MethodGet, "/totals?cursor="+cursor).Code)
}

func TestSummariesOfSeveralUsers(t *testing.T) {
	t.Parallel()
	h, pool := onDatabase(t)
	load(t, pool, 1633, 0.1, 0.2, -0.4)
	load(t, pool, 2147483647, 99999999999.1234)
	w := ask(h, http.MethodGet, "/summaries?user_id=2147483647,5,1633,4,5,1633")
	assert.Equal(t, `{"items":[{"user_id":1633,"total_transactions":3,"total_amount":-0.10,"average_transaction_amount":-0.03},`+
		`{"user_id":2147483647,"total_transactions":1,"total_amount":99999999999.1234,"average_transaction_amount":99999999999.12}],"missing":[4,5]}`+"\n", w.Body.String())
	for _, query := range []string{
		"user_id=2147483647&user_id=5&user_id=1633&user_id=4&user_id=5&user_id=1633", "user_id=2147483647,5&user_id=1633,4,5&user_id=1633", "user_id=2147483647%2C5%2C1633&user_id=4",
	} {
		assert.Equal(t, w.Body.String(), ask(h, http.MethodGet, "/summaries?"+query).Body.String(), query)
	}
	ids := make([]string, 1000)
	for i := range ids {
		ids[i] = fmt.Sprint(2147482000 + i)
	}
	for _, separator := range []string{",", "%2C", "&user_id="} {
		assert.Empty(t, readPage(t, ask(h, http.MethodGet, "/summaries?user_id="+strings.Join(ids, separator))).Items, separator)
	}
}

func TestSummaryOfARange(t *testing.T) {
	t.Parallel()
	h, pool := onDatabase(t)
	load(t, pool, 7, 0.1, 0.2, -0.4, 5, 6) // on 2024-02-29, -18, -07, 2024-01-27 and, as the days repeat, 02-25
	body := func(n int, total, average string) string {
		return fmt.Sprintf(`{"user_id":7,"total_transactions":%d,"total_amount":%s,"average_transaction_amount":%s}`+"\n", n, total, average)
	}
	for query, want := range map[string]string{
		"":                               body(5, "10.90", "2.18"),
		"?from=2024-01-27":               body(5, "10.90", "2.18"),
		"?from=2024-01-28&to=2024-02-25": body(3, "5.80", "1.93"),
		"?to=2024-02-06":                 body(1, "5.00", "5.00"),
		"?from=2024-02-29&to=2024-02-29": body(1, "0.10", "0.10"),
	} {
		w := ask(h, http.MethodGet, "/transactions/7/summary"+query)
		assert.Equal(t, http.StatusOK, w.Code, query)
		assert.Equal(t, want, w.Body.String(), query)
		assert.NotEmpty(t, w.Header().Get("Etag"))
		again := ask(h, http.MethodGet, "/transactions/7/summary"+query, "If-None-Match: "+w.Header().Get("Etag"))
		assert.Equal(t, http.StatusNotModified, again.Code)
	}
	for _, target := range []string{"/transactions/7/summary?from=2024-03-01", "/transactions/7/summary?to=2024-01-26", "/transactions/8/summary?from=2024-01-01"} {
		requireProblem(t, ask(h, http.MethodGet, target), http.StatusNotFound, "no-transactions")
	}
	for _, query := range []string{"from=2024-02-30", "from=2024-2-3", "to=x", "from=2024-02-02&to=2024-02-01", "from=2024-01-01&from=2024-01-02", "since=2024-01-01"} {
		requireProblem(t, ask(h, http.MethodGet, "/transactions/7/summary?"+query), http.StatusUnprocessableEntity, "invalid-request")
	}
}

func TestTopUsers(t *testing.T) {
	t.Parallel()
	h, pool := onDatabase(t)
	load(t, pool, 1, 5)
	load(t, pool, 2, 7, -1)
	load(t, pool, 3, 6)
	for query, want := range map[string]string{
		"":                               "2 3 1",
		"?by=total_amount&limit=2":       "2 3",
		"?by=total_transactions":         "2 1 3",
		"?by=total_transactions&limit=1": "2",
	} {
		var ids []string
		for _, item := range readPage(t, ask(h, http.MethodGet, "/summaries/top"+query)).Items {
			ids = append(ids, fmt.Sprint(item["user_id"]))
		}
		assert.Equal(t, want, strings.Join(ids, " "), query)
	}
	for _, query := range []string{"by=user_id", "limit=0", "limit=1001", "limit=x", "cursor=x"} {
		requireProblem(t, ask(h, http.MethodGet, "/summaries/top?"+query), http.StatusUnprocessableEntity, "invalid-request")
	}
}
