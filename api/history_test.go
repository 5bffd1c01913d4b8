package api

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/summaries"
)

func TestHistory(t *testing.T) {
	t.Parallel()
	first, second := time.Date(2024, 1, 2, 0, 0, 0, 0, time.UTC), time.Date(2024, 1, 3, 0, 0, 0, 1000, time.UTC)
	h := newHandler(t, Config{Runs: fakeRuns{history: func(_ context.Context, id string) (ledger.History, error) {
		switch id {
		case "A/1":
		case "R":
			return ledger.History{Versions: []ledger.Version{}, Retired: &ledger.RetiredTransaction{
				Month: "2020-01", UserID: 7, Date: civil.MustParse("2020-01-05"), At: first, Totals: "kept", KeptTable: "transactions_2020_01"}}, nil
		default:
			return ledger.History{}, ledger.ErrTransactionNotFound
		}
		v := ledger.Version{Amount: money.NewSum(5, 0), Date: civil.MustParse("2024-01-01"), UserID: 7, FileID: 1, Path: "a.csv", Line: 2, From: first, To: &second, Cause: "load"}
		present := v
		present.From, present.To, present.Cause = second, nil, "correction"
		return ledger.History{Versions: []ledger.Version{v, present}}, nil
	}}})
	assert.Equal(t, `{"versions":[{"amount":5.00,"transaction_date":"2024-01-01","user_id":7,"file_id":1,"path":"a.csv","line":2,`+
		`"from":"2024-01-02T00:00:00Z","to":"2024-01-03T00:00:00.000001Z","cause":"load"},`+
		`{"amount":5.00,"transaction_date":"2024-01-01","user_id":7,"file_id":1,"path":"a.csv","line":2,`+
		`"from":"2024-01-03T00:00:00.000001Z","to":null,"cause":"correction"}]}`+"\n", ask(h, http.MethodGet, "/history/A%2F1").Body.String())
	assert.Equal(t, `{"versions":[],"retired":{"month":"2020-01","user_id":7,"transaction_date":"2020-01-05","at":"2024-01-02T00:00:00Z",`+
		`"totals":"kept","kept_table":"transactions_2020_01"}}`+"\n", ask(h, http.MethodGet, "/history/R").Body.String())
	requireProblem(t, ask(h, http.MethodGet, "/history/B"), http.StatusNotFound, "transaction-not-found")
}

func TestSummaryAsOf(t *testing.T) {
	t.Parallel()
	var asked time.Time
	var days summaries.Days
	h := newHandler(t, Config{Summaries: fakeSummaries{asOf: func(_ context.Context, user int32, moment time.Time, d summaries.Days) (summaries.Past, error) {
		asked, days = moment, d
		switch {
		case moment.Year() > 2024:
			return summaries.Past{}, summaries.ErrFuture
		case moment.Year() < 2024:
			return summaries.Past{}, summaries.ErrNotFound
		}
		return summaries.Past{UserID: user, Transactions: 3, Total: money.NewSum(10, 0), Change: 5}, nil
	}}})
	const path = "/transactions/7/summary?as_of="
	for text, want := range map[string]string{
		"2024-06-30T00:00Z": "2024-06-30T00:00:00Z", "2024-06-30T00:00:01.5Z": "2024-06-30T00:00:01.5Z", "2024-06-30T02:00%2B02:00": "2024-06-30T00:00:00Z",
	} {
		w := ask(h, http.MethodGet, path+text)
		require.Equal(t, http.StatusOK, w.Code, w.Body.String())
		assert.Equal(t, `{"user_id":7,"total_transactions":3,"total_amount":10.00,"average_transaction_amount":3.33}`+"\n", w.Body.String())
		assert.Equal(t, want, asked.Format(time.RFC3339Nano))
		assert.Equal(t, summaries.AllDays(), days)
		assert.Equal(t, revalidate, w.Header().Get("Cache-Control"))
		assert.Empty(t, w.Header().Get("Last-Modified"))
		assert.Empty(t, w.Header().Get(runHeader))
		etag := w.Header().Get("ETag")
		assert.Equal(t, http.StatusNotModified, ask(h, http.MethodGet, path+text, "If-None-Match: "+etag).Code)
		assert.Equal(t, http.StatusPreconditionFailed, ask(h, http.MethodGet, path+text, `If-Match: "other"`).Code)
	}
	ask(h, http.MethodGet, path+"2024-06-30T00:00Z&from=2024-01-01&to=2024-01-31")
	assert.Equal(t, summaries.Days{From: civil.MustParse("2024-01-01"), To: civil.MustParse("2024-01-31")}, days)
	requireProblem(t, ask(h, http.MethodGet, path+"2023-12-31T00:00Z"), http.StatusNotFound, "no-transactions")
	for _, text := range []string{"2025-01-01T00:00Z", "2024-06-30", "2024-06-31T00:00Z", "2024-06-30T00:00", "2024-06-30T25:00Z", "2024-06-30T02:00+02:00", "x"} {
		requireProblem(t, ask(h, http.MethodGet, path+text), http.StatusUnprocessableEntity, "invalid-request")
	}
}
