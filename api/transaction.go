package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/opentax/tally/summaries"
)

// Transaction is one loaded row, and where it came from.
type Transaction struct {
	ID            int64  `json:"id" example:"17" doc:"Tally's own number of the row."`
	TransactionID string `json:"transaction_id" maxLength:"50" example:"TXN186490" doc:"The source's id of the transaction; unique."`
	UserID        int32  `json:"user_id" minimum:"1" example:"123" doc:"The user's id."`
	Amount        Money  `json:"amount" doc:"Exactly what the file said."`
	Date          Date   `json:"transaction_date" doc:"The day of the transaction."`
	FileID        int64  `json:"file_id" example:"3" doc:"The file that the row came from."`
	Line          int64  `json:"line" example:"42" doc:"The line of that file on which the row starts; the header is line 1."`
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
		Description: "A user's transactions in order of date and id, by pages. A page stays right while files are loaded: no transaction comes twice, and one that is loaded meanwhile comes if its place is still ahead.",
		Responses: responses(success("A page of transactions.", nil),
			noTransactionsResponse, notAcceptableResponse, invalidResponse, internalResponse, unavailableResponse),
	}, answering(s, s.transactions))
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
			Amount: Money(t.Amount), Date: Date(t.Date), FileID: t.FileID, Line: t.Line,
		}
	}
	return newPage(rows, in.PageQuery, list, "/"+list, nil, func(t Transaction) place {
		return place{daysOf(time.Time(t.Date)), t.ID}
	}), nil
}

const secondsOfDay = 24 * 60 * 60

// daysOf counts from 1970-01-01.
func daysOf(day time.Time) int64 { return day.Unix() / secondsOfDay }

// The days that fit PostgreSQL's dates and four digits of a year alike. A cursor
// can be made up, and must not get as far as an error of the database.
const (
	firstDay = -719162 // 0001-01-01
	lastDay  = 2932896 // 9999-12-31
)

// day is the day of a place whose first part is one.
func (p place) day() (time.Time, error) {
	if p.first < firstDay || p.first > lastDay {
		return time.Time{}, badCursor()
	}
	return time.Unix(p.first*secondsOfDay, 0).UTC(), nil
}

// transactions is the place in a user's transactions.
func (p place) transactions() (summaries.Cursor, error) {
	if p == (place{}) {
		return summaries.Cursor{}, nil
	}
	day, err := p.day()
	return summaries.Cursor{Date: day, ID: p.second}, err
}
