package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/opentax/tally/api/console"
	"github.com/opentax/tally/summaries"
)

func TestReceipt(t *testing.T) {
	t.Parallel()
	h := newHandler(t, Config{
		Summaries: fakeSummaries{get: func(_ context.Context, id int32) (summaries.Summary, error) {
			if id == 8 {
				return summaries.Summary{UserID: id, Transactions: console.MaxReceiptRows + 1}, nil
			}
			if id == 9 {
				return summaries.Summary{UserID: id, Transactions: 1}, nil
			}
			return contractSummary(context.Background(), id)
		}},
		Proofs: fakeProofs{receipt: func(_ context.Context, w io.Writer, id int32) error {
			if id == 9 {
				return fmt.Errorf("make: %w", console.ErrLargeReceipt)
			}
			_, err := fmt.Fprintf(w, "{\n  \"user_id\": %d\n}\n", id)
			return err
		}},
	})
	assert.Equal(t, `{"user_id":123}`+"\n", ask(h, http.MethodGet, "/prove/123").Body.String())
	requireProblem(t, ask(h, http.MethodGet, "/prove/7"), http.StatusNotFound, "no-transactions")
	assert.Contains(t, requireProblem(t, ask(h, http.MethodGet, "/prove/8"), http.StatusConflict, "no-receipt").Detail, "tally prove")
	assert.Contains(t, requireProblem(t, ask(h, http.MethodGet, "/prove/9"), http.StatusConflict, "no-receipt").Detail, "tally prove")
	requireProblem(t, ask(h, http.MethodGet, "/prove/0"), http.StatusUnprocessableEntity, "invalid-request")
	requireProblem(t, ask(newHandler(t, Config{}), http.MethodGet, "/prove/123"), http.StatusConflict, "no-receipt")
	busy := newHandler(t, Config{Proofs: fakeProofs{receipt: func(context.Context, io.Writer, int32) error { return fmt.Errorf("wait: %w", summaries.ErrBusy) }}})
	w := ask(busy, http.MethodGet, "/prove/123")
	requireProblem(t, w, http.StatusServiceUnavailable, "busy")
	assert.NotEmpty(t, w.Header().Get("Retry-After"))
}
