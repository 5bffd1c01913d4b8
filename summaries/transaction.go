package summaries

import (
	"context"
	"fmt"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"
)

// Transaction is one loaded row. Its fields are in the order of the statement's columns.
type Transaction struct {
	ID            int64      `json:"id" example:"17" doc:"Tally's id of the row."`
	TransactionID string     `json:"transaction_id" maxLength:"50" example:"TXN186490" doc:"The source's unique id of the transaction."`
	UserID        int32      `json:"user_id" minimum:"1" example:"123" doc:"The user's id."`
	Amount        money.Sum  `json:"amount" doc:"The exact amount in the file."`
	Date          civil.Date `json:"transaction_date" doc:"The date of the transaction."`
	FileID        int64      `json:"file_id" example:"3" doc:"The file that contained the row."`
	Line          int64      `json:"line" example:"42" doc:"The line of that file where the row starts; the header is line 1."`
}

// Cursor is a position in a user's transactions, which are in order of date and id. The zero
// cursor is the start.
type Cursor struct {
	Date civil.Date
	ID   int64
}

// Cursor is the position right after t.
func (t Transaction) Cursor() Cursor { return Cursor{Date: t.Date, ID: t.ID} }

// transactionsQuery is prepared, past Bun: through it, a page takes 2.8 times as long with 36
// months, each of which is planned again.
const transactionsQuery = `
SELECT id, transaction_id, user_id, amount::numeric, transaction_date, file_id, line
FROM transactions
WHERE user_id = $1 AND (transaction_date, id) > ($2, $3)
ORDER BY transaction_date, id
LIMIT $4`

// Transactions returns at most limit of a user's transactions after a cursor, in order of date and
// id, possibly none. A row that is loaded between two pages appears if its position is still to
// come; none appears twice.
func (s *Store) Transactions(ctx context.Context, userID int32, after Cursor, limit int) ([]Transaction, error) {
	if after == (Cursor{}) {
		after.Date = civil.Min
	}
	list, err := collect[Transaction](ctx, s, transactionsQuery, userID, after.Date, after.ID, limit)
	if err != nil {
		return nil, fmt.Errorf("list a user's transactions: %w", err)
	}
	return list, nil
}
