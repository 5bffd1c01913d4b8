package api

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/summaries"
)

// listing answers as the store does, from rows in order.
func listing(rows *[]summaries.Transaction) fakeSummaries {
	return fakeSummaries{transactions: func(_ context.Context, _ int32, after summaries.Cursor, limit int) ([]summaries.Transaction, error) {
		var out []summaries.Transaction
		for _, t := range *rows {
			later := after == (summaries.Cursor{}) || t.Date > after.Date || (t.Date == after.Date && t.ID > after.ID)
			if later && len(out) < limit {
				out = append(out, t)
			}
		}
		return out, nil
	}}
}

func stored(id int64, day string) summaries.Transaction {
	return summaries.Transaction{
		ID: id, TransactionID: fmt.Sprintf("T%d", id), UserID: 7, Amount: money.NewSum(id, 1), Date: civil.MustParse(day), FileID: 3, Line: id + 1,
	}
}

func byPlace(a, b summaries.Transaction) int {
	return cmp.Or(cmp.Compare(a.Date, b.Date), cmp.Compare(a.ID, b.ID))
}

type anyPage struct {
	Items      []map[string]any `json:"items"`
	NextCursor string           `json:"next_cursor"`
}

func readPage(tb testing.TB, w *httptest.ResponseRecorder) anyPage {
	tb.Helper()
	require.Equal(tb, http.StatusOK, w.Code, w.Body.String())
	var p anyPage
	require.NoError(tb, json.Unmarshal(w.Body.Bytes(), &p))
	require.NotNil(tb, p.Items, "a list is never null")
	return p
}

// nextLink is the target of the Link header, or "".
func nextLink(tb testing.TB, w *httptest.ResponseRecorder) string {
	tb.Helper()
	link := w.Header().Get("Link")
	if link == "" {
		return ""
	}
	target, ok := strings.CutSuffix(strings.TrimPrefix(link, "<"), `>; rel="next"`)
	require.True(tb, ok, link)
	return target
}

func TestTransactionsItem(t *testing.T) {
	t.Parallel()
	rows := []summaries.Transaction{stored(5, "2024-02-29")}
	w := ask(newHandler(t, Config{Summaries: listing(&rows)}), http.MethodGet, "/transactions/7")
	assert.Equal(t, `{"items":[{"id":5,"transaction_id":"T5","user_id":7,"amount":0.50,"transaction_date":"2024-02-29","file_id":3,"line":6}]}`+"\n",
		w.Body.String())
	assert.Empty(t, w.Header().Get("Link"))
}

func TestTransactionsNone(t *testing.T) {
	t.Parallel()
	var rows []summaries.Transaction
	requireProblem(t, ask(newHandler(t, Config{Summaries: listing(&rows)}), http.MethodGet, "/transactions/7"), http.StatusNotFound, "no-transactions")
}

func TestTransactionsPagesAreStable(t *testing.T) {
	t.Parallel()
	var rows []summaries.Transaction
	for id := range int64(23) {
		rows = append(rows, stored(id+1, fmt.Sprintf("2024-01-%02d", 1+(id*7)%5)))
	}
	rows = append(rows, stored(30, "1969-12-31"), stored(31, "1900-01-01"), stored(32, "2099-12-31"))
	slices.SortFunc(rows, byPlace)
	before := slices.Clone(rows)
	h := newHandler(t, Config{Summaries: listing(&rows)})

	seen := map[string]int{}
	target, pages := "/transactions/7?limit=4", 0
	for target != "" {
		w := ask(h, http.MethodGet, target)
		p := readPage(t, w)
		for _, item := range p.Items {
			seen[item["transaction_id"].(string)]++
		}
		target = nextLink(t, w)
		assert.Equal(t, p.NextCursor != "", target != "")
		assert.Contains(t, target+"cursor="+p.NextCursor, "cursor="+p.NextCursor)
		pages++
		// A load between two pages: behind the reader, right at its position, ahead.
		for _, day := range []string{"1950-01-01", "2024-01-03", "2050-01-01"} {
			rows = append(rows, stored(int64(100+3*pages+len(day)+len(rows)), day))
		}
		slices.SortFunc(rows, byPlace)
		require.Less(t, pages, 60)
	}
	for _, row := range before {
		assert.Equal(t, 1, seen[row.TransactionID], row.TransactionID)
	}
	for id, times := range seen {
		assert.Equal(t, 1, times, id)
	}
}

func TestTransactionsLastPageIsExact(t *testing.T) {
	t.Parallel()
	rows := []summaries.Transaction{stored(1, "2024-01-01"), stored(2, "2024-01-01")}
	h := newHandler(t, Config{Summaries: listing(&rows)})
	p := readPage(t, ask(h, http.MethodGet, "/transactions/7?limit=2"))
	assert.Len(t, p.Items, 2)
	assert.Empty(t, p.NextCursor, "two of two: there is no next page")

	p = readPage(t, ask(h, http.MethodGet, "/transactions/7?limit=1"))
	require.NotEmpty(t, p.NextCursor)
	rows = rows[:1] // what was ahead is gone
	p = readPage(t, ask(h, http.MethodGet, "/transactions/7?limit=1&cursor="+p.NextCursor))
	assert.Empty(t, p.Items)
}

func TestTransactionsCursorBelongsToItsUser(t *testing.T) {
	t.Parallel()
	rows := []summaries.Transaction{stored(1, "2024-01-01"), stored(2, "2024-01-01")}
	h := newHandler(t, Config{Summaries: listing(&rows)})
	cursor := readPage(t, ask(h, http.MethodGet, "/transactions/7?limit=1")).NextCursor
	readPage(t, ask(h, http.MethodGet, "/transactions/7?limit=5&cursor="+cursor))
	requireProblem(t, ask(h, http.MethodGet, "/transactions/8?cursor="+cursor), http.StatusUnprocessableEntity, "invalid-request")
	requireProblem(t, ask(h, http.MethodGet, "/runs?cursor="+cursor), http.StatusUnprocessableEntity, "invalid-request")

	for _, day := range []int64{1 << 40, -(1 << 40)} { // well made, and no day
		far := position{day, 1}.cursor("transactions/7")
		requireProblem(t, ask(h, http.MethodGet, "/transactions/7?cursor="+far), http.StatusUnprocessableEntity, "invalid-request")
	}
}
