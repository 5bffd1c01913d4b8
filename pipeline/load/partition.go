package load

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

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
	attachWait  = 5 * time.Second // for readers, in all
	plannedWait = 5 * time.Second // for statements that were planned without a new partition
	plannedPoll = 5 * time.Millisecond
	stagedTable = "tally_load_%d_%d"
)

// rangeOf are the bounds of a month's partition, as literals.
func rangeOf(m civil.Month) (from, to string) {
	return "'" + m.First().String() + "'", "'" + (m + 1).First().String() + "'"
}

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
	from, to := rangeOf(d.month)
	if err := l.exec(ctx, l.loader.statements.Get("staging_key", "table", d.table, "from", from, "to", to)); err != nil {
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
	locked, err := postgres.LockTable(ctx, l.tx, "transactions", attachWait)
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
		// By now it has another name, which the schema's function chooses.
		var name string
		if err := l.tx.QueryRow(ctx, "SELECT tally_partition_name($1)", d.month.First().Time()).Scan(&name); err != nil {
			return fmt.Errorf("attach month %s: %w", d.month, err)
		}
		if err := l.exec(ctx, l.loader.statements.Get("drop_staging_check", "table", name)); err != nil {
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

// partitions makes the partitions that the rows need, or returns the months for which
// tables are to be filled beside the table. It comes before the load's own locks on
// transactions: a session that waits for those would keep the helper waiting.
func (l *load) partitions(ctx context.Context) (beside []civil.Month, err error) {
	if l.accepted.Len() == 0 {
		return nil, nil
	}
	missing, err := l.missingMonths(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for partitions: %w", err)
	}
	if err := l.checkNewMonths(missing); err != nil {
		return nil, err
	}
	fresh := int64(0)
	for _, month := range missing {
		fresh += l.months[month]
	}
	if fresh >= l.loader.bulkFrom && !l.inChange && !l.distributed {
		return missing, nil
	}
	return nil, l.makePartitions(ctx, missing)
}

// missingMonths are the months of the rows for which there is no partition.
func (l *load) missingMonths(ctx context.Context) (missing []civil.Month, err error) {
	if len(l.months) == 0 {
		return nil, nil
	}
	days := firstDays(slices.Sorted(maps.Keys(l.months)))
	err = l.inShortTries(ctx, l.tx, "transactions", func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, l.loader.statements.Get("missing_months"), days) // CollectRows returns its error
		missing, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (civil.Month, error) {
			var day civil.Date
			err := row.Scan(&day)
			return day.Month(), err
		})
		return err
	})
	return missing, err
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
	ensure := func(tx pgx.Tx) error {
		return l.inShortTries(ctx, tx, "transactions", func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "SELECT tally_ensure_partitions($1)", firstDays(months)); err != nil {
				return fmt.Errorf("partitions of %s: %w", nameMonths(months), err)
			}
			return nil
		})
	}
	if l.distributed && l.inChange { // its nodes attach nothing beside a transaction that has written rows
		return ensure(l.tx)
	}
	if err := pgx.BeginFunc(ctx, l.helper, ensure); err != nil {
		return err
	}
	return l.awaitPlanned(ctx)
}

// awaitPlanned waits until no statement is left that may have been planned without the
// partitions that were just made, and may have no snapshot yet: it would have one from
// after the load's commit. From outside, planning and executing look the same, so the
// wait is bounded.
func (l *load) awaitPlanned(ctx context.Context) error {
	var planned []string // virtual transaction ids; nil: all
	for deadline := time.Now().Add(plannedWait); time.Now().Before(deadline); {
		rows, _ := l.helper.Query(ctx, l.loader.statements.Get("planned"), l.pid, planned) // CollectRows returns its error
		var err error
		if planned, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
			return fmt.Errorf("look for statements on transactions: %w", err)
		}
		if len(planned) == 0 {
			return nil
		}
		select {
		case <-time.After(plannedPoll):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
