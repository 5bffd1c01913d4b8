package api

import (
	"context"
	"fmt"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/summaries"
)

// Transaction is a loaded row and its origin.
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

func (s *service) listTransactions(ctx context.Context, in *transactionsInput) (*pageOutput[Transaction], error) {
	return listPage(list{PageQuery: in.PageQuery, path: fmt.Sprintf("transactions/%d", in.UserID)},
		func(after position, limit int) ([]Transaction, error) {
			cursor, err := after.transaction()
			if err != nil {
				return nil, err
			}
			stored, err := s.Summaries.Transactions(ctx, in.UserID, cursor, limit)
			if err == nil && len(stored) == 0 && in.Cursor == "" {
				err = summaries.ErrNotFound
			}
			rows := make([]Transaction, len(stored))
			for i, t := range stored {
				rows[i] = Transaction(t)
			}
			return rows, err
		}, func(t Transaction) position { return position{int64(t.Date), t.ID} })
}

// day is the day of a position whose first part is one. A cursor can be forged, and must not
// cause an error in the database.
func (p position) day() (civil.Date, error) {
	if p.first < int64(civil.Min) || p.first > int64(civil.Max) {
		return 0, badCursor()
	}
	return civil.Date(p.first), nil
}

// transaction is the position in a user's transactions.
func (p position) transaction() (summaries.Cursor, error) {
	if p == (position{}) {
		return summaries.Cursor{}, nil
	}
	day, err := p.day()
	return summaries.Cursor{Date: day, ID: p.second}, err
}
