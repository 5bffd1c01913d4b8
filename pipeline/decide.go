package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/opentax/tally/internal/extsort"
	"github.com/opentax/tally/internal/pgcopy"
)

// stored is a row of transactions.
type stored struct {
	user   int32
	date   civil.Date
	amount float64
	id     int64
	fileID int64
	line   int64
}

func (s *stored) sameValues(p packed) bool {
	return s.user == p.user() && s.date == p.date() && s.amount == p.amount().Float64()
}

// decide chooses the rows to be stored, and writes the keys of the new ones.
func (l *load) decide(ctx context.Context) error {
	l.enter(ctx, StageKeys)
	rows, err := l.valid.Sorted()
	if err != nil {
		return err
	}
	var none bool
	if err := l.tx.QueryRow(ctx, l.statements.Get("no_keys")).Scan(&none); err != nil {
		return err
	}
	if !none {
		return l.decideAgainstStored(ctx, rows)
	}
	build := false
	if l.valid.Len() >= keysBuiltFrom {
		if build, err = l.lock(ctx, "transaction_keys", 0); err != nil {
			return err
		}
	}
	if build {
		if err := l.exec(ctx, l.statements.Get("drop_key")); err != nil {
			return err
		}
	}
	err = l.writeKeys(ctx, func(keys *keyWriter) error {
		return each(rows.Next, keys.write)
	})
	if err == nil && build {
		err = l.exec(ctx, l.statements.Get("add_key"))
	}
	return err
}

// keysBuiltFrom is how many rows a first load must have for its keys' index to be
// built when they are there: that costs a third of growing it. Until the commit
// nobody can read the keys then; only tally verify does.
const keysBuiltFrom = 50_000

// each calls yield with every record up to io.EOF.
func each(next func() ([]byte, error), yield func(packed) error) error {
	for {
		record, err := next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := yield(record); err != nil {
			return err
		}
	}
}

// decideAgainstStored looks every id up among the keys. Those that are known are
// held against their stored rows when all others have been written.
func (l *load) decideAgainstStored(ctx context.Context, rows *extsort.Merge) error {
	known, err := l.newKnown(ctx)
	if err != nil {
		return err
	}
	l.known = known
	batches := make(chan *batch, 2)
	lookCtx, stop := context.WithCancel(ctx)
	defer stop()
	var looking errgroup.Group
	looking.Go(func() error {
		defer close(batches)
		ahead := newWarming(l.valid.Len())
		err := inBatches(rows, func(b *batch) error {
			if err := known.find(lookCtx, b); err != nil {
				return err
			}
			ahead.addAll(b)
			select {
			case batches <- b:
				return nil
			case <-lookCtx.Done():
				return lookCtx.Err()
			}
		})
		if err == nil && known.rows == 0 && ahead != nil {
			known.background.Go(func() error { return ahead.run(ctx, l, known.tx) })
		}
		return err
	})
	err = l.writeKeys(ctx, func(keys *keyWriter) error {
		for b := range batches {
			if err := b.each(false, keys.write); err != nil {
				return err
			}
		}
		return looking.Wait()
	})
	stop() // the looking must not wait where the writing has failed
	if lookErr := looking.Wait(); err == nil {
		err = lookErr
	}
	if err != nil || known.rows == 0 {
		return err
	}
	return l.decideKnown(ctx, known)
}

// keyWriter writes the keys of ids that are new, and hands their rows on.
type keyWriter struct {
	load  *load
	w     *pgcopy.Writer
	first packed // the last row that was chosen
	rows  int64
}

func (l *load) writeKeys(ctx context.Context, fill func(*keyWriter) error) error {
	columns := []string{"transaction_id", "user_id", "transaction_date"}
	_, err := pgcopy.Copy(ctx, l.tx.Conn(), "transaction_keys", columns, func(w *pgcopy.Writer) error {
		return fill(&keyWriter{load: l, w: w})
	})
	return err
}

// write takes rows in the order of their ids. The first of an id is stored, the
// others repeat it.
func (k *keyWriter) write(p packed) error {
	k.rows++
	k.load.tick(k.rows, k.load.valid.Len())
	if len(k.first) > 0 && bytes.Equal(p.id(), k.first.id()) {
		return k.load.repeat(p, k.first.sameValues(p), k.load.fileID, k.first.line())
	}
	k.first = append(k.first[:0], p...)
	if err := k.w.Row(3); err != nil {
		return err
	}
	k.w.Bytes(p.id())
	k.w.Int32(p.user())
	k.w.Date(p.date())
	return k.load.store(p)
}

// store hands a row on to be stored.
func (l *load) store(p packed) error {
	if err := l.winners.Add(p); err != nil {
		return err
	}
	l.months.add(p.date().Month())
	return l.deltas.Add(p.user(), p.date(), p.amount().Sum())
}

// repeat notes a row that is not stored, because of one that is.
func (l *load) repeat(p packed, same bool, keptFile, keptLine int64) error {
	if same {
		l.result.Duplicate++
	} else {
		l.result.Conflict++
	}
	l.scratch = appendRepeat(l.scratch[:0], p, !same, keptFile, keptLine)
	return l.repeats.Add(l.scratch)
}

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

// known is the rows of the file whose ids are stored already, in a temporary table
// of the helper's connection.
type known struct {
	load       *load
	tx         pgx.Tx
	rows       int64
	background errgroup.Group // what the helper does beside the load when it has found all
}

func (l *load) newKnown(ctx context.Context) (*known, error) {
	tx, err := l.helper.Begin(ctx)
	if err != nil {
		return nil, err
	}
	k := &known{load: l, tx: tx}
	for _, name := range []string{"known_table", "look_up"} {
		if _, err := tx.Exec(ctx, l.statements.Get(name)); err != nil {
			return nil, errors.Join(err, k.close(ctx))
		}
	}
	return k, nil
}

// close leaves the helper free for something else.
func (k *known) close(ctx context.Context) error {
	err := k.background.Wait()
	_ = k.tx.Rollback(context.WithoutCancel(ctx)) // it has only looked
	return err
}

// find looks the ids of a batch up, and keeps the rows of those that are stored.
func (k *known) find(ctx context.Context, b *batch) error {
	b.found = make([]storedAt, len(b.ids))
	rows, err := k.tx.Query(ctx, k.load.statements.Get("known_keys"), pgx.QueryExecModeCacheDescribe, b.ids)
	if err != nil {
		return fmt.Errorf("look the keys up: %w", err)
	}
	var i, user, date int32
	tag, err := pgx.ForEachRow(rows, []any{&i, &user, &date}, func() error {
		b.found[i-1] = storedAt{true, user, civil.Date(date)}
		return nil
	})
	if err != nil {
		return fmt.Errorf("look the keys up: %w", err)
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

// decideKnown holds rows against the stored ones: the stored row stays, unless the
// source's corrections replace it.
func (l *load) decideKnown(ctx context.Context, k *known) error {
	if _, err := k.tx.Exec(ctx, l.statements.Get("look_up_ends")); err != nil {
		return err
	}
	if l.Rules.WithDefaults().Corrections != CorrectionsReplace {
		return l.compare(ctx, k, func(p packed, s *stored) error {
			return l.repeat(p, s.sameValues(p), s.fileID, s.line)
		})
	}
	if err := l.exec(ctx, l.statements.Get("replaced_table")); err != nil {
		return err
	}
	columns := []string{"transaction_id", "old_user_id", "old_date", "old_id", "user_id", "transaction_date"}
	var err error
	l.result.Replaced, err = pgcopy.Copy(ctx, l.tx.Conn(), "load_replaced", columns, func(w *pgcopy.Writer) error {
		var first packed // of the last id that is not new
		var replaced bool
		return l.compare(ctx, k, func(p packed, s *stored) error {
			switch again := len(first) > 0 && bytes.Equal(p.id(), first.id()); {
			case again && replaced:
				return l.repeat(p, first.sameValues(p), l.fileID, first.line())
			case !again:
				first = append(first[:0], p...)
				replaced = !s.sameValues(p)
			}
			if !replaced {
				return l.repeat(p, s.sameValues(p), s.fileID, s.line)
			}
			if err := w.Row(len(columns)); err != nil {
				return err
			}
			w.Bytes(p.id())
			w.Int32(s.user)
			w.Date(s.date)
			w.Int64(s.id)
			w.Int32(p.user())
			w.Date(p.date())
			return l.replace(p, s)
		})
	})
	return err
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
// stored row.
func (l *load) compare(ctx context.Context, k *known, yield func(packed, *stored) error) error {
	rows, err := k.tx.Query(ctx, l.statements.Get("stored"))
	if err != nil {
		return fmt.Errorf("look the stored rows up: %w", err)
	}
	var row []byte
	var s stored
	var user, date *int32
	var amount *float64
	var id, fileID, line *int64
	_, err = pgx.ForEachRow(rows, []any{&row, &user, &date, &amount, &id, &fileID, &line}, func() error {
		p := packed(row)
		if id == nil {
			return fmt.Errorf("transaction_keys has %s, and transactions does not: the tables were written by hand; run tally verify", p.id())
		}
		s = stored{user: *user, date: civil.Date(*date), amount: *amount, id: *id, fileID: *fileID, line: *line}
		return yield(p, &s)
	})
	if err != nil {
		return fmt.Errorf("look the stored rows up: %w", err)
	}
	return nil
}
