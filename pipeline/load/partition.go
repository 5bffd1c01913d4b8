package load

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/postgres"
)

// A month that is new, with many rows, is written to a table of its own that gets its
// primary key when it is full and becomes a partition at the end: building an index
// costs a third of growing it row by row. All of it belongs to the load's one
// transaction, so that nothing of it is older than the commit.
//
// Attaching has to lock readers of transactions out for that moment, or a statement
// that was planned before the commit, without the partition, could take its snapshot
// after it and see the rollups moved. Where readers leave no moment for that, the rows
// are moved into partitions that were made empty.

const (
	stagedFrom  = 50_000                 // rows of new months in a load; for fewer no reader is locked out
	attachWait  = 5 * time.Second        // for readers, in all
	lockTimeout = 200 * time.Millisecond // of each try; readers wait behind it
	lockPause   = 200 * time.Millisecond // for them, between two
	stagedTable = "tally_load_%d_%d"
)

// staged is a table that is to become the partition of a month.
type staged struct {
	table string
	month civil.Month
}

// fillStaged writes the rows of the next month.
func (l *load) fillStaged(ctx context.Context, rows *placedRows) error {
	d := staged{fmt.Sprintf(stagedTable, l.fileID, rows.month), rows.month}
	if err := l.exec(ctx, l.loader.statements.Get("staging_table", "table", d.table)); err != nil {
		return fmt.Errorf("table for month %s: %w", d.month, err)
	}
	if err := rows.copy(ctx, d.table, d.month+1); err != nil {
		return err
	}
	if err := l.exec(ctx, l.loader.statements.Get("staging_key", "table", d.table)); err != nil {
		return fmt.Errorf("primary key of month %s: %w", d.month, err)
	}
	l.staged = append(l.staged, d)
	return nil
}

// attach makes partitions of the tables that were filled. It is the last that a load
// does.
func (l *load) attach(ctx context.Context) error {
	if len(l.staged) == 0 {
		return nil
	}
	locked, err := l.lock(ctx, "transactions", attachWait)
	if err != nil {
		return err
	}
	if !locked {
		l.request.Logger.InfoContext(ctx, "transactions is always being read; moving rows instead of attaching partitions", "path", l.path)
		return l.moveStaged(ctx)
	}
	for _, d := range l.staged {
		if err := l.exec(ctx, "SELECT tally_attach_partition($1::text::regclass, $2)", d.table, d.month.First().Time()); err != nil {
			return fmt.Errorf("attach month %s: %w", d.month, err)
		}
	}
	return nil
}

func (l *load) moveStaged(ctx context.Context) error {
	var months []civil.Month
	for _, d := range l.staged {
		months = append(months, d.month)
	}
	if err := l.makePartitions(ctx, months); err != nil {
		return err
	}
	for _, d := range l.staged {
		for _, sql := range []string{l.loader.statements.Get("move_staged", "table", d.table), "DROP TABLE " + d.table} {
			if err := l.exec(ctx, sql); err != nil {
				return fmt.Errorf("move month %s: %w", d.month, err)
			}
		}
	}
	return nil
}

// missingMonths are the months of the rows for which there is no partition.
func (l *load) missingMonths(ctx context.Context) ([]civil.Month, error) {
	var days []time.Time
	for _, month := range slices.Sorted(maps.Keys(l.months)) {
		days = append(days, month.First().Time())
	}
	rows, err := l.tx.Query(ctx, l.loader.statements.Get("missing_months"), days)
	if err != nil {
		return nil, fmt.Errorf("look for partitions: %w", err)
	}
	missing, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (civil.Month, error) {
		var day civil.Date
		err := row.Scan(&day)
		return day.Month(), err
	})
	if err != nil {
		return nil, fmt.Errorf("look for partitions: %w", err)
	}
	return missing, nil
}

// makePartitions makes empty partitions, in a transaction of its own: a statement
// that was planned before the load's commit and takes its snapshot after it must not
// see the rollups moved and yet know nothing of the partition. An empty partition is
// no change.
func (l *load) makePartitions(ctx context.Context, months []civil.Month) error {
	if len(months) == 0 {
		return nil
	}
	if err := l.endLookup(ctx); err != nil {
		return err
	}
	return pgx.BeginFunc(ctx, l.helper, func(tx pgx.Tx) error {
		for _, month := range months {
			if _, err := tx.Exec(ctx, "SELECT tally_ensure_partition($1)", month.First().Time()); err != nil {
				return fmt.Errorf("partition of %s: %w", month, err)
			}
		}
		return nil
	})
}

// lock locks everybody else out of a table until the commit. It waits for readers, but not
// long at a time: later sessions wait behind it.
func (l *load) lock(ctx context.Context, table string, wait time.Duration) (bool, error) {
	for deadline := time.Now().Add(wait); ; {
		err := pgx.BeginFunc(ctx, l.tx, func(tx pgx.Tx) error {
			sql := fmt.Sprintf("SET LOCAL lock_timeout = %d; LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE; SET LOCAL lock_timeout TO DEFAULT",
				lockTimeout.Milliseconds(), table)
			_, err := tx.Exec(ctx, sql)
			return err
		})
		switch {
		case err == nil:
			return true, nil
		case postgres.State(err) != pgerrcode.LockNotAvailable:
			return false, fmt.Errorf("lock %s: %w", table, err)
		case time.Now().After(deadline):
			return false, nil
		}
		select {
		case <-time.After(lockPause):
		case <-ctx.Done():
			return false, errors.Join(ctx.Err(), err)
		}
	}
}
