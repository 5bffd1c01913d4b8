package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opentax/tally/internal/civil"

	"github.com/jackc/pgx/v5"

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
	detachedFrom  = 50_000                 // rows of new months in a load; for fewer nobody is locked out
	lockPatience  = 5 * time.Second        // with readers, in all
	lockTimeout   = 200 * time.Millisecond // of each try; readers wait behind it
	lockPause     = 200 * time.Millisecond // for them, between two
	lockNotGiven  = "55P03"
	detachedTable = "tally_load_%d_%d"
)

// detached is a table that is to become the partition of a month.
type detached struct {
	table string
	month civil.Month
}

// fillDetached writes the rows of the next month.
func (l *load) fillDetached(ctx context.Context, rows *placedRows) error {
	d := detached{fmt.Sprintf(detachedTable, l.fileID, rows.month), rows.month}
	if err := l.exec(ctx, l.statements.Get("detached_table", "table", d.table)); err != nil {
		return fmt.Errorf("table for month %s: %w", d.month, err)
	}
	if err := rows.copy(ctx, d.table, d.month+1); err != nil {
		return err
	}
	if err := l.exec(ctx, l.statements.Get("detached_key", "table", d.table)); err != nil {
		return fmt.Errorf("primary key of month %s: %w", d.month, err)
	}
	l.detached = append(l.detached, d)
	return nil
}

// attach makes partitions of the tables that were filled. It is the last that a load
// does.
func (l *load) attach(ctx context.Context) error {
	if len(l.detached) == 0 {
		return nil
	}
	locked, err := l.lock(ctx, "transactions", lockPatience)
	if err != nil {
		return err
	}
	if !locked {
		l.Logger.InfoContext(ctx, "transactions is always being read; moving rows instead of attaching partitions", "path", l.Path)
		return l.moveDetached(ctx)
	}
	for _, d := range l.detached {
		if err := l.exec(ctx, "SELECT tally_attach_partition($1::text::regclass, $2)", d.table, d.month.First().Time()); err != nil {
			return fmt.Errorf("attach month %s: %w", d.month, err)
		}
	}
	return nil
}

func (l *load) moveDetached(ctx context.Context) error {
	var months []civil.Month
	for _, d := range l.detached {
		months = append(months, d.month)
	}
	if err := l.makePartitions(ctx, months); err != nil {
		return err
	}
	for _, d := range l.detached {
		for _, sql := range []string{l.statements.Get("move_detached", "table", d.table), "DROP TABLE " + d.table} {
			if err := l.exec(ctx, sql); err != nil {
				return fmt.Errorf("move month %s: %w", d.month, err)
			}
		}
	}
	return nil
}

// lock locks everybody out of a table until the commit. It waits for those who are
// there, with patience, but not long at a time: whoever comes after has to wait
// behind it.
func (l *load) lock(ctx context.Context, table string, patience time.Duration) (bool, error) {
	for deadline := time.Now().Add(patience); ; {
		err := pgx.BeginFunc(ctx, l.tx, func(tx pgx.Tx) error {
			sql := fmt.Sprintf("SET LOCAL lock_timeout = %d; LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE; SET LOCAL lock_timeout TO DEFAULT",
				lockTimeout.Milliseconds(), table)
			_, err := tx.Exec(ctx, sql)
			return err
		})
		switch {
		case err == nil:
			return true, nil
		case postgres.State(err) != lockNotGiven:
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
