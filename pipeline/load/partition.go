package load

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/pipeline/extract"
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
	if len(l.months) == 0 {
		return nil, nil
	}
	rows, err := l.tx.Query(ctx, l.loader.statements.Get("missing_months"), firstDays(slices.Sorted(maps.Keys(l.months))))
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
		if _, err := tx.Exec(ctx, "SELECT tally_ensure_partitions($1)", firstDays(months)); err != nil {
			return fmt.Errorf("partitions of %s: %w", nameMonths(months), err)
		}
		return nil
	})
}

// CodeNewMonths is the code of a file that would create more partitions for next to nothing
// than its source allows.
const CodeNewMonths = "new_months"

// minMonthRows is how many rows make a new month worth a partition: they fill a page.
const minMonthRows = 100

// checkNewMonths fails a file with a few rows in each of many new months. Each partition
// makes every look-up by user slower, for good, and such dates are rarely meant.
func (l *load) checkNewMonths(missing []civil.Month) error {
	sparse := slices.DeleteFunc(slices.Clone(missing), func(m civil.Month) bool { return l.months[m] >= minMonthRows })
	limit := l.request.Rules.WithDefaults().NewMonths
	if len(sparse) <= limit {
		return nil
	}
	line, err := l.firstLine(sparse)
	if err != nil {
		return err
	}
	return &extract.FileError{
		Path: l.path, Code: CodeNewMonths,
		Detail: fmt.Sprintf("%d months that no partition has would get fewer than %d rows each, more than the limit of %d: %s; the first such row is in line %d",
			len(sparse), minMonthRows, limit, nameMonths(sparse), line),
		Hint: fmt.Sprintf("if their dates are wrong, fix the file, or narrow the source's from and to; else load it with tally run --new-months %d, or raise the source's new_months", len(sparse)),
	}
}

// firstLine is the first line of the file with an accepted row of these months.
func (l *load) firstLine(months []civil.Month) (first int64, err error) {
	rows, err := l.accepted.Sorted()
	if err != nil {
		return 0, err
	}
	first = math.MaxInt64
	err = each(rows.Next, func(p packed) error {
		if _, found := slices.BinarySearch(months, p.date().Month()); found {
			first = min(first, p.line())
		}
		return nil
	})
	return first, err
}

// nameMonths names the first and the last of some months.
func nameMonths(months []civil.Month) string {
	const shown = 3
	names := make([]string, 0, 2*shown+1)
	for i, m := range months {
		switch {
		case i < shown || i >= len(months)-shown:
			names = append(names, m.String())
		case i == shown:
			names = append(names, "…")
		}
	}
	return strings.Join(names, ", ")
}

func firstDays(months []civil.Month) []time.Time {
	days := make([]time.Time, len(months))
	for i, m := range months {
		days[i] = m.First().Time()
	}
	return days
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
