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

// History is every state of a transaction, oldest first, a thousand at most, or
// [ErrTransactionNotFound].
func (s *Store) History(ctx context.Context, transactionID string) ([]Version, error) {
	versions := []Version{}
	if utf8.ValidString(transactionID) && !strings.ContainsRune(transactionID, 0) { // as all ids are
		if err := s.selectHistory(transactionID).Scan(ctx, &versions); err != nil {
			return nil, fmt.Errorf("read the history of a transaction: %w", err)
		}
	}
	if len(versions) == 0 {
		return nil, ErrTransactionNotFound
	}
	return versions, nil
}

func (s *Store) selectHistory(transactionID string) *bun.RawQuery {
	return s.db.NewRaw(sqlfile.Parse(historySQL).Get("history"), transactionID)
}

// Head is the audit chain's.
func (s *Store) Head(ctx context.Context) (audit.Head, error) {
	heads, err := list[audit.Head](ctx, s.selectHead(), "the head of the audit chain")
	return append(heads, audit.Head{})[0], err
}

func (s *Store) selectHead() *bun.SelectQuery {
	return s.db.NewSelect().TableExpr("audit_chain").ColumnExpr("number, encode(hash, 'hex') AS hash, at").OrderExpr("number DESC").Limit(1)
}
