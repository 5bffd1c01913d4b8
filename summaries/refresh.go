package summaries

import (
	"context"
	_ "embed" // for the SQL files
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/sqlfile"
)

//go:embed refresh.sql
var refreshSQL string

// A rollup is a table of totals by one column of transactions.
type rollup struct {
	table, key string
}

func rollups() []rollup {
	return []rollup{
		{table: "user_summary", key: "user_id"},
		{table: "daily_totals", key: "transaction_date"},
	}
}

// Changes is what a load did to transactions, for [Refresh].
type Changes struct {
	// Relation has a row for each transaction that came or went: user_id,
	// transaction_date, amount (float8, as in transactions) and sign (int, 1 for
	// one that came and -1 for one that went).
	Relation string
	// Removals says whether any sign is negative; without, half of the work is
	// left out.
	Removals bool
	// FileID is the file whose load it is.
	FileID int64
}

// Refresh moves every rollup by changes, in the caller's transaction, which has
// set tally.writer. The cost grows with the changes, not with the tables.
func Refresh(ctx context.Context, tx pgx.Tx, c Changes) error {
	statements := sqlfile.Parse(refreshSQL)
	names := []string{"upsert"}
	if c.Removals {
		names = []string{"delete", "update", "upsert"}
	}
	for _, r := range rollups() {
		for _, name := range names {
			var args []any
			if name != "delete" {
				args = append(args, c.FileID)
			}
			sql := statements.Get(name, "rollup", r.table, "key", r.key, "changes", c.Relation)
			if _, err := tx.Exec(ctx, sql, args...); err != nil {
				return fmt.Errorf("refresh %s (%s): %w", r.table, name, err)
			}
		}
	}
	return nil
}
