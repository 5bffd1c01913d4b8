package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"github.com/opentax/tally/internal/money"

	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/danielgtaylor/huma/v2/humatest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/summaries"
)

const contractBody = `{"user_id":123,"total_transactions":50,"total_amount":10240.50,"average_transaction_amount":204.81}` + "\n"

func TestSummaryContract(t *testing.T) {
	t.Parallel()
	w := ask(newHandler(t, Config{}), http.MethodGet, "/transactions/123/summary")
	assert.Equal(t, http.StatusOK, w.Code)
	assert.Equal(t, contractBody, w.Body.String())
	assert.Equal(t, "application/json", w.Header().Get("Content-Type"))
	assert.Empty(t, w.Header().Get("Link"), "no link to a schema")
	assert.NotEmpty(t, w.Header().Get("X-Request-Id"))
}

func TestSummaryOnHumatest(t *testing.T) {
	t.Parallel()
	operations := humatest.Wrap(t, humago.New(http.NewServeMux(), humaConfig()))
	newService(withSummaries(contractSummary)).register(operations)
	assert.Equal(t, contractBody, operations.Get("/transactions/123/summary").Body.String())
	assert.Equal(t, http.StatusNotFound, operations.Get("/transactions/124/summary").Code)
	assert.Equal(t, http.StatusUnprocessableEntity, operations.Get("/transactions/0/summary").Code)
	assert.Equal(t, http.StatusUnprocessableEntity, operations.Get("/transactions/123/summary?from=2024").Code)
}

func TestSummaryNumbers(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		transactions   int64
		total          string
		money, average string
	}{
		{5, "10416.29", "10416.29", "2083.26"},
		{3, "-3685.83", "-3685.83", "-1228.61"},
		{1, "3403", "3403.00", "3403.00"},
		{2, "0.01", "0.01", "0.01"},    // half goes away from zero
		{2, "-0.01", "-0.01", "-0.01"}, // on both sides of it
		{3, "0.01", "0.01", "0.00"},
		{4, "0.0002", "0.0002", "0.00"},
		{2, "0", "0.00", "0.00"},
		{1, "0.1250", "0.125", "0.13"},
		{3, "100000000000000000000.01", "100000000000000000000.01", "33333333333333333333.34"},
		{7, "1000", "1000.00", "142.86"},
	} {
		h := newHandler(t, withSummaries(func(_ context.Context, userID int32) (summaries.Summary, error) {
			return summaries.Summary{UserID: userID, Transactions: tc.transactions, Total: money.MustParse(tc.total)}, nil
		}))
		want := fmt.Sprintf(`{"user_id":1,"total_transactions":%d,"total_amount":%s,"average_transaction_amount":%s}`+"\n",
			tc.transactions, tc.money, tc.average)
		assert.Equal(t, want, ask(h, http.MethodGet, "/transactions/1/summary").Body.String())
	}
}

func TestSummaryIDs(t *testing.T) {
	t.Parallel()
	var asked []int32
	h := newHandler(t, withSummaries(func(_ context.Context, userID int32) (summaries.Summary, error) {
		asked = append(asked, userID)
		return summaries.Summary{}, summaries.ErrNotFound
	}))
	for _, id := range []string{"1", "2147483647"} {
		requireProblem(t, ask(h, http.MethodGet, "/transactions/"+id+"/summary"), http.StatusNotFound, "no-transactions")
	}
	assert.Equal(t, []int32{1, 2147483647}, asked)

	for _, id := range []string{
		"0", "-1", "2147483648", "-2147483648", "4294967297", // 1 once cut to 32 bits
		"9223372036854775807", "9223372036854775808", "18446744073709551617", "99999999999999999999", "-99999999999999999999",
		"1.5", "1.0", "1e3", "0x10", "1_000", "abc", "+5", "007", " ", " 5", "5 ", "５", "NaN", "null", "%", "5/", "..;", "5\x00",
	} {
		w := ask(h, http.MethodGet, "/transactions/"+url.PathEscape(id)+"/summary")
		p := requireProblem(t, w, http.StatusUnprocessableEntity, "invalid-request")
		assert.Equal(t, []ProblemError{{
			Location: "path.user_id", Message: "must be an integer from 1 to 2147483647 in decimal digits",
		}}, p.Errors, id)
	}
	assert.Len(t, asked, 2, "a wrong id is never looked up")
}

func TestSummaryIsOneLookUp(t *testing.T) {
	t.Parallel()
	calls := 0
	h := newHandler(t, withSummaries(func(ctx context.Context, userID int32) (summaries.Summary, error) {
		calls++
		_, bounded := ctx.Deadline()
		assert.True(t, bounded)
		return contractSummary(ctx, userID)
	}))
	require.Equal(t, http.StatusOK, ask(h, http.MethodGet, "/transactions/123/summary").Code)
	assert.Equal(t, 1, calls)
}

func TestSummaryHead(t *testing.T) {
	t.Parallel()
	h := newHandler(t, Config{})
	assert.Equal(t, http.StatusOK, ask(h, http.MethodHead, "/transactions/123/summary").Code)
	assert.Equal(t, http.StatusNotFound, ask(h, http.MethodHead, "/transactions/9/summary").Code)
}

func BenchmarkSummary(b *testing.B) {
	h := newHandler(b, Config{})
	b.ReportAllocs()
	for b.Loop() {
		w := ask(h, http.MethodGet, "/transactions/123/summary")
		if w.Body.String() != contractBody {
			b.Fatal(errors.New(w.Body.String()))
		}
	}
}
