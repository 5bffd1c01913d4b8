package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/extsort"
	"github.com/opentax/tally/internal/panics"
	"github.com/opentax/tally/internal/pgcopy"
	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/transform"
)

// decide chooses the rows to be stored, and writes the keys of the new ones.
func (l *load) decide(ctx context.Context) error {
	l.enter(ctx, pipeline.StageKeys)
	rows, err := l.valid.Sorted()
	if err != nil {
		return err
	}
	var none bool
	row := l.helper.QueryRow // a lock of the load would let others in between it and the helper
	if l.inChange {
		row = l.tx.QueryRow
	}
	if err := row(ctx, l.loader.statements.Get("no_keys")).Scan(&none, &l.retiredBefore); err != nil {
		return err
	}
	if !none {
		return l.decideAgainstStored(ctx, rows)
	}
	build := false
	if l.valid.Len() >= l.loader.bulkFrom && !l.distributed {
		if build, err = postgres.LockTable(ctx, l.tx, "transaction_keys", 0); err != nil {
			return err
		}
	}
	if build {
		if err := l.exec(ctx, l.loader.statements.Get("drop_key")); err != nil {
			return err
		}
	}
	err = l.writeKeys(ctx, func(keys *keyWriter) error {
		return each(rows.Next, keys.write)
	})
	if err == nil && build {
		err = l.exec(ctx, l.loader.statements.Get("add_key"))
	}
	if err != nil {
		return err
	}
	return l.checkOrphans()
}

// bulkRows is how many rows a first load must have for its keys' index, and how many of
// new months a load must have for their primary keys, to be built when the rows are
// there: that costs a third of growing them. Readers pay for it: until the commit no one
// can read the keys (only tally verify does), and attaching the months locks
// transactions.
const bulkRows = 50_000

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

// decideAgainstStored looks up every id among the keys. Those that are known are
// compared with their stored rows when all others have been written.
func (l *load) decideAgainstStored(ctx context.Context, rows *extsort.Merge) error {
	// Before the helper's: if others are between the two, the helper notices and the load does not.
	if err := l.exec(ctx, "LOCK TABLE transaction_keys IN ROW EXCLUSIVE MODE"); err != nil {
		return fmt.Errorf("lock the keys: %w", err)
	}
	lookup, err := l.startLookup(ctx)
	if err != nil {
		return err
	}
	if l.inChange {
		return l.decideInChange(ctx, rows)
	}
	batches := make(chan *batch, 2)
	lookupCtx, stop := context.WithCancel(ctx)
	defer stop()
	var lookups errgroup.Group
	lookups.Go(func() (err error) {
		defer panics.Recover(&err)
		defer close(batches)
		ahead := l.newPrefetch()
		err = lookup.all(lookupCtx, rows, batches, ahead)
		if err == nil && lookup.rows == 0 && ahead != nil {
			lookup.prefetch.Go(func() (err error) {
				defer panics.Recover(&err)
				defer lookup.close(ctx)
				return ahead.run(ctx, l, lookup.tx)
			})
		}
		return err
	})
	err = l.writeKeys(ctx, func(keys *keyWriter) error {
		for b := range batches {
			if err := b.each(false, keys.write); err != nil {
				return err
			}
		}
		return lookups.Wait()
	})
	stop() // the look-ups must not wait where the writing has failed
	if lookupErr := lookups.Wait(); err == nil {
		err = lookupErr
	}
	if err != nil {
		return err
	}
	if lookup.rows == 0 {
		return l.checkOrphans()
	}
	if err := l.decideKnown(ctx); err != nil {
		return err
	}
	if err := l.endLookup(ctx); err != nil {
		return err
	}
	return l.checkOrphans()
}

// decideInChange does the same with one connection, for rows that fit in memory.
func (l *load) decideInChange(ctx context.Context, rows *extsort.Merge) error {
	var batches []*batch
	err := inBatches(rows, func(b *batch) error {
		batches = append(batches, b)
		return l.lookup.find(ctx, b)
	})
	if err != nil {
		return err
	}
	err = l.writeKeys(ctx, func(keys *keyWriter) error {
		for _, b := range batches {
			if err := b.each(false, keys.write); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return l.decideKnown(ctx)
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
// others duplicate it.
func (k *keyWriter) write(p packed) error {
	k.rows++
	k.load.tick(k.rows, k.load.valid.Len())
	if p.date() < k.load.retiredBefore {
		return k.load.reject(p, isRetired)
	}
	if len(k.first) > 0 && bytes.Equal(p.id(), k.first.id()) {
		return k.load.duplicate(p, k.first.sameValues(p), k.load.fileID, k.first.line())
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
	if err := l.accepted.Add(p); err != nil {
		return err
	}
	l.months[p.date().Month()]++
	return l.deltas.Add(p.user(), p.date(), p.amount().Sum())
}

// duplicate notes a row that is not stored, because of one that is.
func (l *load) duplicate(p packed, same bool, keptFile, keptLine int64) error {
	outcome := isDuplicate
	if same {
		l.result.Duplicate++
	} else {
		l.result.Conflict++
		outcome = isConflict
	}
	l.scratch = appendDuplicate(l.scratch[:0], p, outcome, keptFile, keptLine)
	return l.duplicates.Add(l.scratch)
}

// withoutRow is about a row whose id has a key, but no row: that was retired with its month, or
// removed by hand. Of a retired row only the key's user and date are left to compare.
func (l *load) withoutRow(p packed, user int32, date civil.Date) error {
	if date >= l.retiredBefore {
		return l.reject(p, isOrphan)
	}
	l.retired++
	return l.duplicate(p, user == p.user() && date == p.date(), 0, 0)
}

// reject rejects a row that has no fault of its own.
func (l *load) reject(p packed, outcome byte) error {
	fault, hint := l.faultOf(outcome, p.id())
	l.result.Rejected++
	l.result.Faults[fault.String()]++
	l.findings.AddHint(hint, p.line())
	l.scratch = appendDuplicate(l.scratch[:0], p, outcome, 0, 0)
	return l.duplicates.Add(l.scratch)
}

// faultOf is why a row with that outcome is rejected, 0 if it is not.
func (l *load) faultOf(outcome byte, id []byte) (transform.Fault, transform.Hint) {
	switch outcome {
	case isOrphan:
		return transform.FaultOrphanKey, transform.OrphanKeyHint(id)
	case isRetired:
		return transform.FaultRetiredMonth, transform.RetiredMonthHint(id, l.retiredBefore)
	default:
		return 0, transform.Hint{}
	}
}

// checkOrphans fails the file if rows with an orphan key, or of a retired month, take it over its
// reject limit. It warns of rows that could not be compared.
func (l *load) checkOrphans() error {
	if l.retired > 0 {
		l.result.Warnings = append(l.result.Warnings, fmt.Sprintf(
			"%d rows have ids of months before %s, which are retired: they were compared by user and date, not by amount", l.retired, l.retiredBefore.Month()))
	}
	orphans := l.result.Faults[transform.FaultOrphanKey.String()]
	if orphans+l.result.Faults[transform.FaultRetiredMonth.String()] == 0 {
		return nil
	}
	l.result.Hints = l.findings.Hints()
	if l.checkLimit(); l.cause == nil {
		return nil
	}
	l.result.Duplicate, l.result.Conflict, l.result.Replaced = 0, 0, 0
	if orphans == 0 {
		return l.cause
	}
	l.cause.Hint = "run tally verify, which lists keys without a row, and tally rebuild, which removes them"
	return l.cause
}
