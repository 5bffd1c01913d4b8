package load

import (
	"context"
	_ "embed" // for retire.sql
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/internal/reject"
	"github.com/opentax/tally/pipeline/seal"
	"github.com/opentax/tally/summaries"
)

//go:embed retire.sql
var retireSQL string

// Errors of [Loader.Retire] and of changes of retired rows.
var (
	ErrRetired    = errors.New("rows of a retired month cannot be changed")
	ErrMonthOpen  = errors.New("the months to retire have not ended, and no row of a retired month is loaded")
	ErrStraddles  = errors.New("a partition has later months, too")
	ErrByHand     = errors.New("the partition was made by hand: retire it without keeping the table")
	ErrAlwaysBusy = errors.New("transactions is always being read: try again at a quieter time")
)

const (
	detachWait  = 60 * time.Second // for readers of transactions, in short tries
	detachTries = 2 * time.Second  // for sessions that lock a partition only
)

// Retirement says which months are to be retired, and how.
type Retirement struct {
	Before     civil.Month // all months before it
	KeepTotals bool        // in the rollups
	KeepTables bool        // outside transactions; else the rows are dropped
	// Exported is called with the months in the transaction, under the load lock. It names the
	// file of an export that has each month's rows as they are now, or fails. It may be nil.
	Exported func(context.Context, pgx.Tx, []summaries.RetiredMonth) error
	// Record is called with the result in the transaction that retires months. It may be nil.
	Record func(context.Context, pgx.Tx, reject.RetireResult) error
}

// Check returns [ErrMonthOpen] if a month has not ended in UTC: a wrong year would close all months to
// come for good.
func (q Retirement) Check() error {
	if q.Before > civil.Of(time.Now().UTC()).Month() {
		return ErrMonthOpen
	}
	return nil
}

// Retire takes the partitions of old months out of transactions, in one commit with the keys,
// the rollups and the audit chain. The ids stay known. Readers of transactions wait only for the
// moment of the commit: all that takes time comes before the lock that they wait for.
func (l *Loader) Retire(ctx context.Context, q Retirement, by audit.By, dryRun bool) (reject.RetireResult, error) {
	result := reject.RetireResult{Months: []reject.RetiredMonth{}}
	if err := q.Check(); err != nil {
		return result, err
	}
	err := l.change(ctx, seal.Retire, by, dryRun, func(c *change) (bool, error) {
		r, err := summaries.NewRetirement(ctx, c.tx, q.Before)
		if err != nil || len(r.Months) == 0 {
			return false, err
		}
		partitions, err := c.oldPartitions(ctx, q.Before)
		if err != nil {
			return false, err
		}
		if q.KeepTables {
			if err := nameTables(r.Months, partitions); err != nil {
				return false, err
			}
		}
		if q.Exported != nil && !dryRun {
			if err := q.Exported(ctx, c.tx, r.Months); err != nil {
				return false, fmt.Errorf("compare with the export: %w", err)
			}
		}
		result = retireResult(r)
		if dryRun {
			return false, nil
		}
		if q.Record != nil {
			if err := q.Record(ctx, c.tx, result); err != nil {
				return false, err
			}
		}
		return true, c.retire(ctx, q, r, partitions)
	})
	return result, err
}

func retireResult(from *summaries.Retirement) (r reject.RetireResult) {
	r.Rows, r.TotalAmount = from.Net()
	for _, m := range from.Months {
		r.Months = append(r.Months, reject.RetiredMonth{Month: m.Month.String(), Rows: m.Rows, TotalAmount: m.Amount, KeptTable: m.KeptTable, Exported: m.Path})
	}
	return r
}

// retire does all that takes time first, then takes out the partitions.
func (c *change) retire(ctx context.Context, q Retirement, r *summaries.Retirement, partitions []partition) error {
	if err := r.Record(ctx, c.entry.Number, q.KeepTotals); err != nil {
		return err
	}
	rows, amount := r.Net()
	c.entry.Rows, c.entry.Amount = -rows, amount.Neg()
	var err error
	if c.entry.Detail, err = seal.RetiredDetail(ctx, c.tx, c.entry.Number); err != nil {
		return err
	}
	locked, err := postgres.LockTable(ctx, c.tx, "transactions", detachWait)
	if err != nil {
		return err
	}
	if !locked {
		return ErrAlwaysBusy
	}
	if err := c.exec(ctx, fmt.Sprintf("SET LOCAL lock_timeout = %d", detachTries.Milliseconds())); err != nil {
		return err
	}
	for _, p := range partitions {
		sql := "DROP TABLE " + p.name
		if q.KeepTables {
			sql = "ALTER TABLE transactions DETACH PARTITION " + p.name
		}
		if err := c.exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return c.exec(ctx, "SET LOCAL lock_timeout = 0")
}

// partition is one of transactions.
type partition struct{ name, table string } // as SQL, and as it is

// oldPartitions are those that have only days before the month.
func (c *change) oldPartitions(ctx context.Context, before civil.Month) (list []partition, err error) {
	rows, _ := c.tx.Query(ctx, c.loader.statements.Get("old_partitions"), before.First()) // ForEachRow returns its error
	var p partition
	var straddles bool
	_, err = pgx.ForEachRow(rows, []any{&p.name, &p.table, &straddles}, func() error {
		if straddles {
			return fmt.Errorf("%s: %w", p.table, ErrStraddles)
		}
		list = append(list, p)
		return nil
	})
	return list, err
}

// nameTables names the table of each month, which keeps the partition's name.
func nameTables(months []summaries.RetiredMonth, partitions []partition) error {
	tables := map[string]bool{}
	for _, p := range partitions {
		tables[p.table] = true
	}
	for i := range months {
		month := months[i].Month
		name := fmt.Sprintf("transactions_%s_%s", month.String()[:4], month.String()[5:])
		if !tables[name] {
			return fmt.Errorf("month %s: %w", month, ErrByHand)
		}
		months[i].KeptTable = name
	}
	return nil
}
