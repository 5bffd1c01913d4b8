package api

import (
	"context"
	"fmt"
	"net/http"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"

	"github.com/danielgtaylor/huma/v2"

	"github.com/opentax/tally/summaries"
)

// Transaction is one loaded row, and where it came from.
type Transaction struct {
	ID            int64      `json:"id" example:"17" doc:"Tally's id of the row."`
	TransactionID string     `json:"transaction_id" maxLength:"50" example:"TXN186490" doc:"The source's unique id of the transaction."`
	UserID        int32      `json:"user_id" minimum:"1" example:"123" doc:"The user's id."`
	Amount        money.Sum  `json:"amount" doc:"The exact amount in the file."`
	Date          civil.Date `json:"transaction_date" doc:"The date of the transaction."`
	FileID        int64      `json:"file_id" example:"3" doc:"The file that contained the row."`
	Line          int64      `json:"line" example:"42" doc:"The line of that file where the row starts; the header is line 1."`
}

type transactionsInput struct {
	UserPath
	PageQuery
}

func (s *service) registerTransactions(operations huma.API) {
	huma.Register(operations, huma.Operation{
		OperationID: "listUserTransactions",
		Method:      http.MethodGet,
		Path:        "/transactions/{user_id}",
		Tags:        []string{tagTransactions},
		Summary:     "List a user's transactions",
		Description: "A user's transactions in order of date and id, in pages. Pages stay consistent while files are loaded: no transaction appears twice, and one that is loaded meanwhile appears if it sorts after the cursor.",
		Responses:   responses(success("A page of transactions.", nil), noTransactionsResponse, unavailableResponse),
	}, withProblems(s, s.transactions))
}

func (s *service) transactions(ctx context.Context, in *transactionsInput) (*pageOutput[Transaction], error) {
	list := fmt.Sprintf("transactions/%d", in.UserID)
	start, err := in.start(list)
	if err != nil {
		return nil, err
	}
	after, err := start.transactions()
	if err != nil {
		return nil, err
	}
	stored, err := s.summaries.Transactions(ctx, in.UserID, after, in.Limit+1)
	if err != nil {
		return nil, err
	}
	if len(stored) == 0 && in.Cursor == "" {
		return nil, summaries.ErrNotFound
	}
	rows := make([]Transaction, len(stored))
	for i, t := range stored {
		rows[i] = Transaction{
			ID: t.ID, TransactionID: t.TransactionID, UserID: t.UserID,
			Amount: t.Amount, Date: t.Date, FileID: t.FileID, Line: t.Line,
		}
	}
	return newPage(rows, in.PageQuery, list, "/"+list, nil, func(t Transaction) position {
		return position{int64(t.Date), t.ID}
	}), nil
}

// day is the day of a place whose first part is one. A cursor can be made up, and must
// not get as far as an error of the database.
func (p position) day() (civil.Date, error) {
	if p.first < int64(civil.Min) || p.first > int64(civil.Max) {
		return 0, badCursor()
	}
	return civil.Date(p.first), nil
}

// transactions is the place in a user's transactions.
func (p position) transactions() (summaries.Cursor, error) {
	if p == (position{}) {
		return summaries.Cursor{}, nil
	}
	day, err := p.day()
	return summaries.Cursor{Date: day, ID: p.second}, err
}
