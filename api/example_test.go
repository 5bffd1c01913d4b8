package api_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/opentax/tally/api"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/summaries"
)

// rollups stands for summaries.NewStore(pool).
type rollups struct{ api.Summaries }

func (rollups) Get(_ context.Context, userID int32) (summaries.Summary, error) {
	return summaries.Summary{UserID: userID, Transactions: 5, Total: money.MustParse("10416.29")}, nil
}

func (rollups) Transactions(context.Context, int32, summaries.Cursor, int) ([]summaries.Transaction, error) {
	return nil, nil
}

// runs stands for ledger.NewStore(pool).
type runs struct{ api.RunReader }

// request stands for the Request of a jobs.Service.
func request(context.Context, *civil.Date, string, string) (ledger.Run, error) {
	return ledger.Run{}, errors.New("no workers here")
}

func ExampleNew() {
	handler, err := api.New(api.Config{Summaries: rollups{}, Runs: runs{}, Request: request})
	if err != nil {
		fmt.Println(err)
		return
	}
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/transactions/1633/summary", nil))
	fmt.Print(answer.Code, " ", answer.Body)
	// Output:
	// 200 {"user_id":1633,"total_transactions":5,"total_amount":10416.29,"average_transaction_amount":2083.26}
}
