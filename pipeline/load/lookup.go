package load

import (
	"bytes"
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/extsort"
	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/internal/pgcopy"
	"github.com/opentax/tally/pipeline/transform"
)

// batchRows is how many rows are looked up at once.
const batchRows = 4096

// batch is some rows in the order of their ids.
type batch struct {
	rows  []byte
	ends  []int // of each row
	id    []int // of each row, in ids
	ids   []string
	found []storedAt // of each id
}

// storedAt is where the row of an id is, if there is one.
type storedAt struct {
	known bool
	user  int32
	date  civil.Date
}

func (b *batch) add(p packed) {
	if n := len(b.ids); n == 0 || b.ids[n-1] != string(p.id()) {
		b.ids = append(b.ids, string(p.id()))
	}
	b.rows = append(b.rows, p...)
	b.ends = append(b.ends, len(b.rows))
	b.id = append(b.id, len(b.ids)-1)
}

// each gives the rows whose ids are known, or those whose are not.
func (b *batch) each(known bool, yield func(packed) error) error {
	from := 0
	for i, end := range b.ends {
		if b.found[b.id[i]].known == known {
			if err := yield(b.rows[from:end]); err != nil {
				return err
			}
		}
		from = end
	}
	return nil
}

// inBatches gives rows in batches.
func inBatches(rows *extsort.Merge, yield func(*batch) error) error {
	b := &batch{}
	err := each(rows.Next, func(p packed) error {
		b.add(p)
		if len(b.ends) < batchRows {
			return nil
		}
		full := b
		b = &batch{}
		return yield(full)
	})
	if err != nil || len(b.ends) == 0 {
		return err
	}
	return yield(b)
}

// lookup finds the rows of the file whose ids are stored already, and keeps them in a
// temporary table of the helper's connection.
type lookup struct {
	load     *load
	tx       pgx.Tx
	rows     int64          // found
	prefetch errgroup.Group // what the helper does beside the load when it has looked up all
}

func (l *load) startLookup(ctx context.Context) (*lookup, error) {
	tx := l.tx
	if l.inChange {
		if err := l.exec(ctx, l.loader.statements.Get("drop_known")); err != nil {
			return nil, err
		}
	} else {
		var err error
		if tx, err = l.helper.Begin(ctx); err != nil {
			return nil, err
		}
	}
	l.lookup = &lookup{load: l, tx: tx}
	if err := l.lockForLookups(ctx, "transaction_keys"); err != nil {
		return nil, err
	}
	for _, name := range []string{"known_table", "look_up"} {
		if _, err := tx.Exec(ctx, l.loader.statements.Get(name)); err != nil {
			return nil, err
		}
	}
	return l.lookup, nil
}

// close releases the helper's locks: others may queue behind them, and the load behind those.
func (k *lookup) close(ctx context.Context) {
	_ = k.tx.Rollback(context.WithoutCancel(ctx)) // it has only looked
}

// endLookup leaves the helper free for something else.
func (l *load) endLookup(ctx context.Context) error {
	k := l.lookup
	if k == nil {
		return nil
	}
	l.lookup = nil
	if l.inChange {
		return nil
	}
	err := k.prefetch.Wait()
	k.close(ctx)
	return err
}

// all looks up the rows batch by batch.
func (k *lookup) all(ctx context.Context, rows *extsort.Merge, batches chan<- *batch, ahead *prefetch) error {
	return inBatches(rows, func(b *batch) error {
		if err := k.find(ctx, b); err != nil {
			return err
		}
		ahead.addAll(b)
		select {
		case batches <- b:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

// find looks up the ids of a batch, and keeps the rows of those that are stored.
func (k *lookup) find(ctx context.Context, b *batch) error {
	b.found = make([]storedAt, len(b.ids))
	rows, err := k.tx.Query(ctx, k.load.loader.statements.Get("known_keys"), pgx.QueryExecModeCacheDescribe, b.ids)
	if err != nil {
		return fmt.Errorf("look up the keys: %w", err)
	}
	var i, user, date int32
	tag, err := pgx.ForEachRow(rows, []any{&i, &user, &date}, func() error {
		b.found[i-1] = storedAt{true, user, civil.Date(date)}
		return nil
	})
	if err != nil {
		return fmt.Errorf("look up the keys: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return nil
	}
	columns := []string{"transaction_id", "line", "packed", "user_id", "transaction_date"}
	n, err := pgcopy.Copy(ctx, k.tx.Conn(), "load_known", columns, func(w *pgcopy.Writer) error {
		id := 0
		return b.each(true, func(p packed) error {
			for b.ids[id] != string(p.id()) {
				id++
			}
			if err := w.Row(len(columns)); err != nil {
				return err
			}
			w.Bytes(p.id())
			w.Int64(p.line())
			w.Bytes(p)
			w.Int32(b.found[id].user)
			w.Date(b.found[id].date)
			return nil
		})
	})
	k.rows += n
	return err
}

// stored is a row of transactions.
type stored struct {
	user   int32
	date   civil.Date
	amount float64
	id     int64
	fileID int64
	line   int64
	older  bool // it came no later than the file: corrections replace it
}

func (s *stored) sameValues(p packed) bool {
	return s.user == p.user() && s.date == p.date() && s.amount == p.amount().Float64()
}

// decideKnown compares rows with the stored ones: the stored row stays, unless the
// source's corrections replace it.
func (l *load) decideKnown(ctx context.Context) error {
	if err := l.lockForLookups(ctx, "transactions"); err != nil {
		return err
	}
	for _, name := range []string{"look_up_ends", "analyze_known"} {
		if _, err := l.lookup.tx.Exec(ctx, l.loader.statements.Get(name)); err != nil {
			return err
		}
	}
	if l.request.Rules.WithDefaults().Corrections != transform.CorrectionsReplace && !l.takes {
		return l.compare(ctx, "stored", nil, func(p packed, s *stored) error {
			return l.duplicate(p, s.sameValues(p), s.fileID, s.line)
		})
	}
	if err := l.exec(ctx, l.loader.statements.Get("replaced_table")); err != nil {
		return err
	}
	var held pgcopy.Fields
	if l.inChange { // the rows that are compared come through the same connection
		err := l.replaceStored(ctx, func(row pgcopy.Fields) error {
			held = append(held, row...)
			return nil
		})
		if err != nil {
			return err
		}
	}
	columns := []string{"transaction_id", "old_user_id", "old_date", "old_id", "user_id", "transaction_date"}
	var err error
	l.result.Replaced, err = pgcopy.Copy(ctx, l.tx.Conn(), "load_replaced", columns, func(w *pgcopy.Writer) error {
		if l.inChange {
			return w.Encoded(held)
		}
		return l.replaceStored(ctx, func(row pgcopy.Fields) error { return w.Encoded(row) })
	})
	return err
}

// replaceStored gives the rows of load_replaced: those of the file that take the place of a
// stored one.
func (l *load) replaceStored(ctx context.Context, yield func(pgcopy.Fields) error) error {
	var first packed // of the last id that is not new
	var replaced bool
	var row pgcopy.Fields
	return l.compare(ctx, "stored_arrivals", []any{l.arrival.date, l.arrival.file}, func(p packed, s *stored) error {
		if (s.older || l.takes) && !s.sameValues(p) && p.date() < l.retiredBefore {
			return l.reject(p, isRetired)
		}
		switch again := len(first) > 0 && bytes.Equal(p.id(), first.id()); {
		case again && replaced:
			return l.duplicate(p, first.sameValues(p), l.fileID, first.line())
		case !again:
			first = append(first[:0], p...)
			replaced = (s.older || l.takes) && !s.sameValues(p)
		}
		if !replaced {
			return l.duplicate(p, s.sameValues(p), s.fileID, s.line)
		}
		row = row[:0]
		row.Row(6)
		row.Bytes(p.id())
		row.Int32(s.user)
		row.Date(s.date)
		row.Int64(s.id)
		row.Int32(p.user())
		row.Date(p.date())
		if err := yield(row); err != nil {
			return err
		}
		return l.replace(p, s)
	})
}

func (l *load) replace(p packed, s *stored) error {
	old, err := money.FromFloat(s.amount)
	if err != nil {
		return fmt.Errorf("stored row of %s: %w", p.id(), err)
	}
	if err := l.deltas.Remove(s.user, s.date, old.Sum()); err != nil {
		return err
	}
	return l.store(p)
}

// compare gives each row whose id is known, in the order of the ids, with the
// stored row. A row whose stored row is gone is rejected, unless that was in a retired month.
func (l *load) compare(ctx context.Context, statement string, args []any, yield func(packed, *stored) error) error {
	transactions := "transactions"
	if l.distributed {
		transactions = "load_stored"
		if _, err := l.lookup.tx.Exec(ctx, l.loader.statements.Get("stored_rows")); err != nil {
			return fmt.Errorf("look up the stored rows: %w", err)
		}
	}
	rows, err := l.lookup.tx.Query(ctx, l.loader.statements.Get(statement, "transactions", transactions), args...)
	if err != nil {
		return fmt.Errorf("look up the stored rows: %w", err)
	}
	var row []byte
	var s stored
	var user, date int32
	var amount *float64
	var id, fileID, line *int64
	var older bool
	_, err = pgx.ForEachRow(rows, []any{&row, &user, &date, &amount, &id, &fileID, &line, &older}, func() error {
		p := packed(row)
		if id == nil {
			return l.withoutRow(p, user, civil.Date(date))
		}
		s = stored{user: user, date: civil.Date(date), amount: *amount, id: *id, fileID: *fileID, line: *line, older: older}
		return yield(p, &s)
	})
	if err != nil {
		return fmt.Errorf("look up the stored rows: %w", err)
	}
	return nil
}
