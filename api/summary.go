package api

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/opentax/tally/summaries"
)

// UserPath is the path of what belongs to one user. It is exported since huma
// passes over embedded types that are not; so are RunPath and PageQuery.
type UserPath struct {
	UserID int32 `path:"user_id" minimum:"1" maximum:"2147483647" example:"123" doc:"The user's id."`
}

// Resolve is called by huma once the path has been read.
func (UserPath) Resolve(ctx huma.Context) []error { return plainDigits(ctx, "user_id") }

// Summary is the answer that the contract fixes: these four keys, in this order.
type Summary struct {
	UserID            int32 `json:"user_id" minimum:"1" example:"123" doc:"The user's id."`
	TotalTransactions int64 `json:"total_transactions" minimum:"1" example:"50" doc:"How many transactions the user has."`
	TotalAmount       Money `json:"total_amount" doc:"The exact sum of their amounts."`
	Average           Money `json:"average_transaction_amount" example:"204.81" doc:"total_amount / total_transactions, rounded half away from zero to two decimals."`
}

type summaryInput struct{ UserPath }

type summaryOutput struct{ Body Summary }

func (s *service) registerSummary(operations huma.API) {
	huma.Register(operations, huma.Operation{
		OperationID: "getUserSummary",
		Method:      http.MethodGet,
		Path:        "/transactions/{user_id}/summary",
		Tags:        []string{tagTransactions},
		Summary:     "Summarise a user's transactions",
		Description: "Count, exact sum and average of all transactions of a user, as of the last file that was loaded.",
		Responses: responses(success("The user's summary.", json.RawMessage(
			`{"user_id":123,"total_transactions":50,"total_amount":10240.50,"average_transaction_amount":204.81}`)),
			noTransactionsResponse, notAcceptableResponse, invalidResponse, internalResponse, unavailableResponse),
	}, answering(s, s.summary))
}

func (s *service) summary(ctx context.Context, in *summaryInput) (*summaryOutput, error) {
	sum, err := s.summaries.Get(ctx, in.UserID)
	if err != nil {
		return nil, err
	}
	return &summaryOutput{Body: summaryOf(sum)}, nil
}

func summaryOf(sum summaries.Summary) Summary {
	return Summary{
		UserID:            sum.UserID,
		TotalTransactions: sum.Transactions,
		TotalAmount:       Money(sum.Total),
		Average:           Money(sum.Average()),
	}
}
