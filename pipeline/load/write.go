package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/extsort"
	"github.com/opentax/tally/internal/pgcopy"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/summaries"
)

// write writes what was decided.
func (l *load) write(ctx context.Context) error {
	l.enter(ctx, pipeline.StageWrite)
	if err := l.keepDuplicates(ctx); err != nil {
		return err
	}
	return l.place(ctx)
}

// place stores the rows that were decided on, and moves the rollups.
func (l *load) place(ctx context.Context) error {
	beside, err := l.partitions(ctx)
	if err != nil {
		return err
	}
	if l.result.Replaced > 0 {
		if err := l.archive(ctx); err != nil {
			return err
		}
	}
	if err := l.storeRows(ctx, beside); err != nil {
		return err
	}
	l.progress(95, 100)
	l.result.Loaded = l.deltas.Added()
	l.result.TotalAmount = json.Number(l.deltas.Amount().String())
	l.result.Users, err = summaries.Refresh(ctx, l.tx, l.deltas, l.fileID)
	return err
}

// archive moves replaced rows to transaction_versions.
func (l *load) archive(ctx context.Context) error {
	if err := l.exec(ctx, "ANALYZE load_replaced"); err != nil {
		return err
	}
	if err := l.exec(ctx, l.loader.statements.Get("keep_version")); err != nil {
		return fmt.Errorf("keep the replaced rows: %w", err)
	}
	if err := l.exec(ctx, l.loader.statements.Get("delete_replaced")); err != nil {
		return fmt.Errorf("delete the replaced rows: %w", err)
	}
	if err := l.exec(ctx, l.loader.statements.Get("move_keys")); err != nil {
		return fmt.Errorf("move the keys of replaced rows: %w", err)
	}
	return nil
}

// transactionColumns are the columns of transactions in their order.
func transactionColumns() []string {
	return []string{"id", "transaction_id", "user_id", "amount", "transaction_date", "file_id", "line"}
}

// storeRows copies the rows, in the order of the partitions and of their primary
// keys. The rows of the months beside go into tables of their own.
func (l *load) storeRows(ctx context.Context, beside []civil.Month) (err error) {
	n := l.accepted.Len()
	if n == 0 {
		return nil
	}
	rows := &placedRows{load: l}
	if err := l.tx.QueryRow(ctx, l.loader.statements.Get("reserve_ids"), n).Scan(&rows.id); err != nil {
		return fmt.Errorf("reserve ids: %w", err)
	}
	if rows.merge, err = l.accepted.Sorted(); err != nil {
		return err
	}
	if err := rows.advance(); err != nil {
		return err
	}
	for rows.row != nil {
		if len(beside) > 0 && beside[0] <= rows.month {
			if err := l.fillStaged(ctx, rows); err != nil {
				return err
			}
			beside = beside[1:]
			continue
		}
		until := civil.Month(math.MaxInt32)
		if len(beside) > 0 {
			until = beside[0]
		}
		if err := rows.copy(ctx, "transactions", until); err != nil {
			return err
		}
	}
	return nil
}

// placedRows are the rows to be stored, by month.
type placedRows struct {
	load  *load
	merge *extsort.Merge
	row   packed      // the next one; nil: none
	month civil.Month // of row
	id    int64       // of row
	done  int64
}

func (r *placedRows) advance() error {
	row, err := r.merge.Next()
	if errors.Is(err, io.EOF) {
		r.row = nil
		return nil
	}
	if err != nil {
		return err
	}
	r.row = row
	r.month = r.row.date().Month()
	return nil
}

// copy writes the rows of the months before until to a table.
func (r *placedRows) copy(ctx context.Context, table string, until civil.Month) error {
	columns := transactionColumns()
	_, err := pgcopy.Copy(ctx, r.load.tx.Conn(), table, columns, func(w *pgcopy.Writer) error {
		for r.row != nil && r.month < until {
			r.done++
			r.load.tick(r.done, r.load.accepted.Len())
			if err := w.Row(len(columns)); err != nil {
				return err
			}
			w.Int64(r.id)
			w.Bytes(r.row.id())
			w.Int32(r.row.user())
			w.Float64(r.row.amount().Float64())
			w.Date(r.row.date())
			w.Int64(r.load.fileID)
			w.Int64(r.row.line())
			r.id++
			if err := r.advance(); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}
