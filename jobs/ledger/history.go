package ledger

import (
	"context"
	_ "embed" // for history.sql
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/uptrace/bun"

	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/internal/sqlfile"
)

//go:embed history.sql
var historySQL string

// ErrTransactionNotFound reports that no row with the id was ever stored.
var ErrTransactionNotFound = errors.New("no such transaction")

// Version is a state of a transaction: the row that was stored from one change of the data
// to another.
type Version struct {
	bun.BaseModel `bun:"table:transaction_versions,alias:version"`

	Amount money.Sum  `bun:"amount" json:"amount" doc:"The exact amount."`
	Date   civil.Date `bun:"transaction_date" json:"transaction_date" doc:"The date of the transaction."`
	UserID int32      `bun:"user_id" json:"user_id" minimum:"1" example:"123" doc:"The user's id."`
	FileID int64      `bun:"file_id" json:"file_id" minimum:"1" example:"3" doc:"The file that contains the row."`
	Path   string     `bun:"path" json:"path" example:"inbox/2024-01-31.csv" doc:"Where that was read."`
	Line   int64      `bun:"line" json:"line" minimum:"1" example:"42" doc:"The line of that file where the row starts; the header is line 1."`
	From   time.Time  `bun:"from" json:"from" doc:"When the change that brought it was made."`
	To     *time.Time `bun:"to" json:"to" doc:"When the change that ended it was made; null: it is the present state."`
	Cause  string     `bun:"cause" json:"cause" enum:"load,correction,replay,fix,settle,revert" doc:"The change that brought it. load: its file was loaded; correction: its file was loaded, and its row replaced another one's; replay: the row had been rejected and was read again; fix: it was corrected by a person; settle: a person decided a conflict for it; revert: another file was taken back out, and the row is stored again or instead."`
}

// History is every state of a transaction.
type History struct {
	Versions []Version           `json:"versions" nullable:"false" doc:"The states, oldest first, at most 1000. If the last one has ended, or there is none, the transaction is no longer stored."`
	Retired  *RetiredTransaction `json:"retired,omitempty" doc:"If the transaction's month was retired: its last state is known by its key only."`
}

// Stored reports whether the last state is the present one.
func (h History) Stored() bool {
	return len(h.Versions) > 0 && h.Versions[len(h.Versions)-1].To == nil
}

// RetiredTransaction is what is known of a transaction in a retired month: its key, and what became
// of its row.
type RetiredTransaction struct {
	bun.BaseModel `bun:"table:etl_retired,alias:retired"`

	Month     string     `bun:"month" json:"month" example:"2020-01" doc:"The month that was retired."`
	UserID    int32      `bun:"user_id" json:"user_id" minimum:"1" example:"123" doc:"The user's id."`
	Date      civil.Date `bun:"transaction_date" json:"transaction_date" doc:"The date of the transaction."`
	At        time.Time  `bun:"at" json:"at" doc:"When the month was retired."`
	Totals    string     `bun:"totals" json:"totals" enum:"kept,dropped" doc:"Whether the rollups still count the month."`
	KeptTable string     `bun:"kept_table" json:"kept_table,omitempty" example:"transactions_2020_01" doc:"The table that has the row; omitted if it was dropped."`
	Exported  string     `bun:"exported" json:"exported,omitempty" doc:"The file that has the row, in the export of that time."`
}

// History is every state of a transaction, a thousand at most, or [ErrTransactionNotFound] if no row
// with the id was ever stored.
func (s *Store) History(ctx context.Context, transactionID string) (h History, err error) {
	if !utf8.ValidString(transactionID) || strings.ContainsRune(transactionID, 0) { // as no id is
		return h, ErrTransactionNotFound
	}
	h.Versions = []Version{}
	if err := s.selectHistory(transactionID).Scan(ctx, &h.Versions); err != nil {
		return h, fmt.Errorf("read the history of a transaction: %w", err)
	}
	if h.Stored() {
		return h, nil
	}
	var retired []RetiredTransaction
	if err := s.selectRetired(transactionID).Scan(ctx, &retired); err != nil {
		return h, fmt.Errorf("read the retired key of a transaction: %w", err)
	}
	if len(retired) > 0 {
		h.Retired = &retired[0]
	}
	if len(h.Versions) == 0 && h.Retired == nil {
		return h, ErrTransactionNotFound
	}
	return h, nil
}

func (s *Store) selectHistory(transactionID string) *bun.RawQuery {
	return s.db.NewRaw(sqlfile.Parse(historySQL).Get("history"), transactionID)
}

func (s *Store) selectRetired(transactionID string) *bun.RawQuery {
	return s.db.NewRaw(sqlfile.Parse(historySQL).Get("retired"), transactionID)
}

// Head is the audit chain's.
func (s *Store) Head(ctx context.Context) (audit.Head, error) {
	heads, err := list[audit.Head](ctx, s.selectHead(), "the head of the audit chain")
	return append(heads, audit.Head{})[0], err
}

func (s *Store) selectHead() *bun.SelectQuery {
	return s.db.NewSelect().TableExpr("audit_chain").ColumnExpr("number, encode(hash, 'hex') AS hash, at").OrderExpr("number DESC").Limit(1)
}
