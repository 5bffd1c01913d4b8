package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"

	"github.com/opentax/tally/api"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/summaries"
)

// rollups stands for summaries.NewStore(pool).
type rollups struct{ api.Summaries }

func (rollups) Get(_ context.Context, userID int32) (summaries.Summary, error) {
	if userID != 1633 {
		return summaries.Summary{}, summaries.ErrNotFound
	}
	return summaries.Summary{UserID: userID, Transactions: 5, Total: money.MustParse("10416.29")}, nil
}

func (rollups) Transactions(_ context.Context, userID int32, after summaries.Cursor, limit int) ([]summaries.Transaction, error) {
	var all []summaries.Transaction
	for id := int64(1); id <= 5; id++ {
		day, _ := civil.New(2024, 1, int(id))
		all = append(all, summaries.Transaction{
			ID: id, TransactionID: fmt.Sprintf("TXN%d", id), UserID: userID, Amount: money.MustParse("2083.25"), Date: day, FileID: 1, Line: id + 1,
		})
	}
	all = slices.DeleteFunc(all, func(t summaries.Transaction) bool { return t.Date <= after.Date })
	return all[:min(limit, len(all))], nil
}

// runs stands for ledger.NewStore(pool).
type runs struct{ api.RunReader }

// changes stands for a jobs.Service.
type changes struct{ api.Changes }

// proofs stands for pipeline/prove and pipeline/seal.
type proofs struct{ api.Proofs }

// request stands for the Request of a jobs.Service.
func request(context.Context, *civil.Date, string, string) (ledger.Run, error) {
	return ledger.Run{}, errors.New("no workers here")
}

func ExampleNew() {
	handler, err := api.New(api.Config{Summaries: rollups{}, Runs: runs{}, Request: request, Changes: changes{}, Proofs: proofs{}})
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

// get decodes the response to a GET request.
func get(server *httptest.Server, path string, into any) error {
	response, err := server.Client().Get(server.URL + path)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	return json.NewDecoder(response.Body).Decode(into)
}

// A client reads a summary. Amounts are exact: decode them as json.Number, not as floats.
func ExampleSummary() {
	handler, err := api.New(api.Config{Summaries: rollups{}, Runs: runs{}, Request: request, Changes: changes{}, Proofs: proofs{}})
	if err != nil {
		fmt.Println(err)
		return
	}
	server := httptest.NewServer(handler)
	defer server.Close()

	var summary struct {
		Transactions int         `json:"total_transactions"`
		Total        json.Number `json:"total_amount"`
		Average      json.Number `json:"average_transaction_amount"`
	}
	err = get(server, "/transactions/1633/summary", &summary)
	fmt.Println(summary.Transactions, summary.Total, summary.Average, err)

	var problem api.Problem
	err = get(server, "/transactions/7/summary", &problem)
	fmt.Println(problem.Status, problem.Type, problem.Detail, err)
	// Output:
	// 5 10416.29 2083.26 <nil>
	// 404 /problems/no-transactions No transaction of this user has been loaded. <nil>
}

// A client reads all transactions of a user, two at a time: next_cursor leads to the next page,
// and the last page has none.
func ExamplePage() {
	handler, err := api.New(api.Config{Summaries: rollups{}, Runs: runs{}, Request: request, Changes: changes{}, Proofs: proofs{}})
	if err != nil {
		fmt.Println(err)
		return
	}
	server := httptest.NewServer(handler)
	defer server.Close()

	for path := "/transactions/1633?limit=2"; path != ""; {
		var page api.Page[summaries.Transaction]
		if err := get(server, path, &page); err != nil {
			fmt.Println(err)
			return
		}
		for _, t := range page.Items {
			fmt.Println(t.Date, t.TransactionID, t.Amount)
		}
		path = ""
		if page.NextCursor != "" {
			fmt.Println("next page")
			path = "/transactions/1633?limit=2&cursor=" + page.NextCursor
		}
	}
	// Output:
	// 2024-01-01 TXN1 2083.25
	// 2024-01-02 TXN2 2083.25
	// next page
	// 2024-01-03 TXN3 2083.25
	// 2024-01-04 TXN4 2083.25
	// next page
	// 2024-01-05 TXN5 2083.25
}
