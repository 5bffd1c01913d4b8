package summaries

import (
	"context"
	_ "embed" // for the SQL files
	"fmt"
	"strings"

	"github.com/opentax/tally/internal/civil"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/pgcopy"
	"github.com/opentax/tally/internal/sqlfile"
)

//go:embed refresh.sql
var refreshSQL string

// A rollup is a table of totals by one or two columns of transactions.
type rollup struct {
	table string
	keys  []rollupKey
	// dated ones say by which file, and when, a row last moved.
	dated   bool
	deltas  func(*Deltas) *deltaTable
	copyKey func(w *pgcopy.Writer, key int64)
}

// rollupKey is a column of a rollup's key, and what it is of a transaction.
type rollupKey struct{ column, of string }

func rollups() []rollup {
	return []rollup{
		{
			"user_summary", []rollupKey{{"user_id", "user_id"}}, true, func(d *Deltas) *deltaTable { return d.users },
			func(w *pgcopy.Writer, key int64) { w.Int32(int32(key)) },
		},
		{
			"user_months", []rollupKey{{"user_id", "user_id"}, {"month", "date_trunc('month', transaction_date)::date"}}, false,
			func(d *Deltas) *deltaTable { return d.months },
			func(w *pgcopy.Writer, key int64) {
				user, month := splitMonthKey(key)
				w.Int32(user)
				w.Date(month.First())
			},
		},
		{
			"daily_totals", []rollupKey{{"transaction_date", "transaction_date"}}, true, func(d *Deltas) *deltaTable { return d.days },
			func(w *pgcopy.Writer, key int64) { w.Date(civil.Date(key)) },
		},
	}
}

// each is what a statement has of every key, joined.
func (r rollup) each(text func(rollupKey) string, separator string) string {
	all := make([]string, len(r.keys))
	for i, k := range r.keys {
		all[i] = text(k)
	}
	return strings.Join(all, separator)
}

func (r rollup) columns() string {
	return r.each(func(k rollupKey) string { return k.column }, ", ")
}

// match compares the key in two tables.
func (r rollup) match(one, other string) string {
	return r.each(func(k rollupKey) string { return one + "." + k.column + " = " + other + "." + k.column }, " AND ")
}

// statement is one of refresh.sql for this rollup.
func (r rollup) statement(statements sqlfile.Statements, name string) string {
	return statements.Get(name, "rollup", r.table, "keys", r.columns(), "match", r.match("r", "d"))
}

// named is what refresh.sql calls the statement delete, update or upsert of this rollup.
func (r rollup) named(name string) string {
	if name == "delete" || r.dated {
		return name
	}
	return name + "_plain"
}

// args are those of the statement delete, update or upsert.
func (r rollup) args(name string, fileID int64) []any {
	if name == "delete" || !r.dated {
		return nil
	}
	return []any{fileID}
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
	var changed []int32 // users: all of them, or one more than can be named
	noteUser := func(d delta) {
		if d.came > 0 {
			users++
		}
		if len(changed) <= mostNamed {
			changed = append(changed, int32(d.key))
		}
	}
	for _, r := range rollups() {
		note := func(delta) {}
		if r.table == "user_summary" {
			note = noteUser
		}
		if err := r.refresh(ctx, tx, statements, d, fileID, note); err != nil {
			return 0, fmt.Errorf("refresh %s: %w", r.table, err)
		}
	}
	return users, announce(ctx, tx, fileID, changed)
}

// refresh shows note each key's delta on the way.
func (r rollup) refresh(ctx context.Context, tx pgx.Tx, statements sqlfile.Statements, d *Deltas, fileID int64, note func(delta)) error {
	var empty bool
	if err := tx.QueryRow(ctx, r.statement(statements, "empty")).Scan(&empty); err != nil {
		return err
	}
	// Into an empty table the deltas go as they are: whatever came cannot have
	// gone as well.
	target, columns := r.table, []string{r.columns(), "total_transactions", "total_amount"}
	if !empty {
		target, columns = "refresh_delta", []string{r.columns(), "n", "amount"}
		if _, err := tx.Exec(ctx, r.statement(statements, "delta")); err != nil {
			return err
		}
	}
	indexed := !empty || r.dated // else the index is made of the rows, in half the time
	if !indexed {
		if _, err := tx.Exec(ctx, r.statement(statements, "bare")); err != nil {
			return err
		}
	}
	noted := empty && r.dated
	fields := len(r.keys) + 2
	if noted {
		columns = append(columns, "file_id")
		fields++
	}
	removals := false
	_, err := pgcopy.Copy(ctx, tx.Conn(), target, columns, func(w *pgcopy.Writer) error {
		return r.deltas(d).each(func(d delta) error {
			note(d)
			removals = removals || d.transactions() <= 0
			if err := w.Row(fields); err != nil {
				return err
			}
			r.copyKey(w, d.key)
			w.Int64(d.transactions())
			w.Numeric(d.amount)
			if noted {
				w.Int64(fileID)
			}
			return nil
		})
	})
	if err == nil && !indexed {
		_, err = tx.Exec(ctx, r.statement(statements, "index"))
	}
	if err != nil || empty {
		return err
	}
	names := []string{"upsert"}
	if removals {
		names = []string{"delete", "update", "upsert"}
	}
	for _, name := range names {
		if _, err := tx.Exec(ctx, r.statement(statements, r.named(name)), r.args(name, fileID)...); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	_, err = tx.Exec(ctx, "DROP TABLE refresh_delta")
	return err
}
