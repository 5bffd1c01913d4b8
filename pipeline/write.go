package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/bits"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/pgcopy"
	"github.com/opentax/tally/summaries"
)

// write writes what was decided.
func (l *load) write(ctx context.Context) error {
	if err := l.keepRepeats(ctx); err != nil {
		return err
	}
	if l.result.Replaced > 0 {
		if err := l.takeOut(ctx); err != nil {
			return err
		}
	}
	if err := l.storeRows(ctx); err != nil {
		return err
	}
	l.result.Loaded = l.deltas.Came()
	l.result.TotalAmount = json.Number(l.deltas.Amount().String())
	var err error
	l.result.Users, err = summaries.Refresh(ctx, l.tx, l.deltas, l.fileID)
	return err
}

// takeOut moves replaced rows to transaction_versions.
func (l *load) takeOut(ctx context.Context) error {
	if err := l.exec(ctx, "ANALYZE load_replaced"); err != nil {
		return err
	}
	if err := l.exec(ctx, l.statements.Get("keep_version"), l.fileID); err != nil {
		return fmt.Errorf("keep the replaced rows: %w", err)
	}
	if err := l.exec(ctx, l.statements.Get("take_out")); err != nil {
		return fmt.Errorf("take the replaced rows out: %w", err)
	}
	if err := l.exec(ctx, l.statements.Get("move_keys")); err != nil {
		return fmt.Errorf("move the keys of replaced rows: %w", err)
	}
	return nil
}

// storeRows copies the rows, in the order of the partitions and of their primary
// keys, so that each index is written from left to right.
func (l *load) storeRows(ctx context.Context) error {
	n := l.winners.Len()
	if n == 0 {
		return nil
	}
	if err := l.ensurePartitions(ctx); err != nil {
		return err
	}
	var id int64
	if err := l.tx.QueryRow(ctx, l.statements.Get("reserve_ids"), n).Scan(&id); err != nil {
		return fmt.Errorf("reserve ids: %w", err)
	}
	rows, err := l.winners.Sorted()
	if err != nil {
		return err
	}
	columns := []string{"id", "transaction_id", "user_id", "amount", "transaction_date", "file_id", "line"}
	first := id
	_, err = pgcopy.Copy(ctx, l.tx.Conn(), "transactions", columns, func(w *pgcopy.Writer) error {
		for ; ; id++ {
			record, err := rows.Next()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			l.progress(StageWrite, id-first, n)
			if err := w.Row(len(columns)); err != nil {
				return err
			}
			p := packed(record)
			w.Int64(id)
			w.Bytes(p.id())
			w.Int32(p.user())
			w.Float64(p.amount().Float64())
			w.Date(int32(p.date()))
			w.Int64(l.fileID)
			w.Int64(p.line())
		}
	})
	return err
}

// ensurePartitions makes the partitions that are missing, in a transaction of its
// own: a statement that was planned before the load's commit and takes its snapshot
// after it must not see the rollups moved and yet know nothing of the partition. An
// empty partition is no change.
func (l *load) ensurePartitions(ctx context.Context) error {
	return pgx.BeginFunc(ctx, l.helper, func(tx pgx.Tx) error {
		for month := range l.months.all() {
			first := civil(month/12, month%12+1, 1)
			if _, err := tx.Exec(ctx, "SELECT tally_ensure_partition($1)", first.Time()); err != nil {
				return fmt.Errorf("partition of %s: %w", first, err)
			}
		}
		return nil
	})
}

// months is a set of months, counted from year 0 as Date.month does.
type months [10_000*12/64 + 1]uint64

func (m *months) add(month int) { m[month>>6] |= 1 << (month & 63) }

func (m *months) all() iter.Seq[int] {
	return func(yield func(int) bool) {
		for i, word := range m {
			for ; word != 0; word &= word - 1 {
				if !yield(i<<6 + bits.TrailingZeros64(word)) {
					return
				}
			}
		}
	}
}

// storedAmount is the decimal that a stored float stands for: the shortest one that
// gives it.
func storedAmount(f float64) (Amount, error) {
	text := strconv.AppendFloat(nil, f, 'f', -1, 64)
	a, ok := plainAmount(text)
	if !ok {
		return a, fmt.Errorf("amount %s is none that Tally stores", text)
	}
	return a, nil
}
