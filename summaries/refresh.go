package summaries

import (
	"context"
	_ "embed" // for the SQL files
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/pgcopy"
	"github.com/opentax/tally/internal/sqlfile"
)

//go:embed refresh.sql
var refreshSQL string

// A rollup is a table of totals by one column of transactions.
type rollup struct {
	table, key string
	deltas     func(*Deltas) *deltaTable
	copyKey    func(*pgcopy.Writer, int32)
}

func rollups() []rollup {
	return []rollup{
		{"user_summary", "user_id", func(d *Deltas) *deltaTable { return d.users }, (*pgcopy.Writer).Int32},
		{"daily_totals", "transaction_date", func(d *Deltas) *deltaTable { return d.days }, (*pgcopy.Writer).Date},
	}
}

// Refresh moves every rollup by the deltas of the load of a file, in the caller's
// transaction, which has set tally.writer and lets no other load write. The cost
// grows with the deltas, not with the tables. It returns how many users had a
// transaction come. The deltas are used up.
//
// The caches hear of it when the transaction commits; see [Cache]. What follows in
// the transaction is to be short, since no other change of a summary can commit
// meanwhile.
func Refresh(ctx context.Context, tx pgx.Tx, d *Deltas, fileID int64) (users int64, err error) {
	statements := sqlfile.Parse(refreshSQL)
	if err := promise(ctx, tx); err != nil {
		return 0, err
	}
	var changed []int32
	for _, r := range rollups() {
		came, keys, err := r.refresh(ctx, tx, statements, d, fileID)
		if err != nil {
			return 0, fmt.Errorf("refresh %s: %w", r.table, err)
		}
		if r.key == "user_id" {
			users, changed = came, keys
		}
	}
	return users, announce(ctx, tx, fileID, changed)
}

// refresh returns the number of keys for which a transaction came, and the keys that
// changed: all of them, or one more than can be named.
func (r rollup) refresh(ctx context.Context, tx pgx.Tx, statements sqlfile.Statements, d *Deltas, fileID int64) (came int64, changed []int32, err error) {
	var empty bool
	if err := tx.QueryRow(ctx, statements.Get("empty", "rollup", r.table)).Scan(&empty); err != nil {
		return 0, nil, err
	}
	// Into an empty table the deltas go as they are: whatever came cannot have
	// gone as well.
	target, columns := r.table, []string{r.key, "total_transactions", "total_amount", "file_id"}
	if !empty {
		target, columns = "refresh_delta", []string{"key", "n", "amount"}
		if _, err := tx.Exec(ctx, statements.Get("delta", "rollup", r.table, "key", r.key)); err != nil {
			return 0, nil, err
		}
	}
	removals := false
	_, err = pgcopy.Copy(ctx, tx.Conn(), target, columns, func(w *pgcopy.Writer) error {
		return r.deltas(d).each(func(d delta) error {
			if d.came > 0 {
				came++
			}
			if len(changed) <= mostNamed {
				changed = append(changed, d.key)
			}
			removals = removals || d.transactions() <= 0
			if err := w.Row(len(columns)); err != nil {
				return err
			}
			r.copyKey(w, d.key)
			w.Int64(d.transactions())
			w.Numeric(d.amount.hi, d.amount.lo)
			if empty {
				w.Int64(fileID)
			}
			return nil
		})
	})
	if err != nil || empty {
		return came, changed, err
	}
	names := []string{"upsert"}
	if removals {
		names = []string{"delete", "update", "upsert"}
	}
	for _, name := range names {
		var args []any
		if name != "delete" {
			args = append(args, fileID)
		}
		if _, err := tx.Exec(ctx, statements.Get(name, "rollup", r.table, "key", r.key), args...); err != nil {
			return 0, nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	_, err = tx.Exec(ctx, "DROP TABLE refresh_delta")
	return came, changed, err
}
