package summaries

import (
	"context"
	_ "embed" // for refresh.sql
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/pgcopy"
	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/internal/sqlfile"
)

//go:embed refresh.sql
var refreshSQL string

// Refresh adds the deltas of the load of a file to every rollup, in the caller's transaction, which
// has set tally.writer and excludes other loads. The cost grows with the deltas, not with the tables.
// It returns how many users had a transaction added. The deltas can be used once.
//
// The caches are notified when the transaction commits; see [Cache]. What follows in the transaction
// must be short, since no other change of a summary can commit meanwhile.
func Refresh(ctx context.Context, tx pgx.Tx, d *Deltas, fileID int64) (users int64, err error) {
	if _, err := tx.Exec(ctx, deferTrigger); err != nil {
		return 0, fmt.Errorf("announce: %w", err)
	}
	var changed []int32 // users: all of them, or one more than can be named
	for _, r := range d.rollups {
		f := refresh{rollupDeltas: r, tx: tx, statements: sqlfile.Parse(refreshSQL), fileID: fileID, copied: func(delta) {}}
		if r.Table == userSummary {
			f.copied = func(d delta) {
				if d.added > 0 {
					users++
				}
				if len(changed) <= maxNamedUsers {
					changed = append(changed, r.column(d.key, 0))
				}
			}
		}
		if err := f.run(ctx); err != nil {
			return 0, fmt.Errorf("refresh %s: %w", r.Table, err)
		}
	}
	return users, announce(ctx, tx, fileID, changed)
}

type refresh struct {
	*rollupDeltas
	tx         pgx.Tx
	statements sqlfile.Statements
	fileID     int64
	copied     func(delta) // called with the delta of every key
	removals   bool        // of keys that have no more transactions than before
}

func (f *refresh) run(ctx context.Context) error {
	sql, _ := f.statement(f.statements, "empty", 0)
	var empty bool
	if err := f.tx.QueryRow(ctx, sql).Scan(&empty); err != nil {
		return err
	}
	if empty {
		return f.fill(ctx)
	}
	return f.move(ctx)
}

// fill copies the deltas into the empty table. A large table gets its primary key afterwards, in
// half the time, unless someone is reading it.
func (f *refresh) fill(ctx context.Context) error {
	columns := append(f.KeyColumns(), "total_transactions", "total_amount")
	if f.Versioned {
		columns = append(columns, "file_id")
	}
	if !f.large() {
		return f.copy(ctx, f.Table, columns)
	}
	locked, err := postgres.LockTable(ctx, f.tx, f.Table, 0)
	if err != nil {
		return err
	}
	if !locked { // someone is reading it
		return f.copy(ctx, f.Table, columns)
	}
	if err := f.exec(ctx, "drop_key"); err != nil {
		return err
	}
	if err := f.copy(ctx, f.Table, columns); err != nil {
		return err
	}
	return f.exec(ctx, "add_key")
}

func (f *refresh) move(ctx context.Context) error {
	if err := f.exec(ctx, "delta"); err != nil {
		return err
	}
	if err := f.copy(ctx, "refresh_delta", append(f.KeyColumns(), "n", "amount")); err != nil {
		return err
	}
	if f.removals {
		if err := f.exec(ctx, "delete", "update"); err != nil {
			return err
		}
	}
	return f.exec(ctx, "upsert", "drop_delta")
}

func (f *refresh) exec(ctx context.Context, names ...string) error {
	for _, name := range names {
		sql, args := f.statement(f.statements, name, f.fileID)
		if _, err := f.tx.Exec(ctx, sql, args...); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// copy sends the deltas, in order of the keys.
func (f *refresh) copy(ctx context.Context, table string, columns []string) error {
	_, err := pgcopy.Copy(ctx, f.tx.Conn(), table, columns, func(w *pgcopy.Writer) error {
		return f.each(func(d delta) error {
			f.copied(d)
			f.removals = f.removals || d.transactions() <= 0
			if err := w.Row(len(columns)); err != nil {
				return err
			}
			for i, k := range f.Keys {
				k.write(w, f.column(d.key, i))
			}
			w.Int64(d.transactions())
			w.Numeric(d.amount)
			if len(columns) > len(f.Keys)+2 {
				w.Int64(f.fileID)
			}
			return nil
		})
	})
	return err
}
