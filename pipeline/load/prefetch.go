package load

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/postgres"
)

// prefetchRows is how many rows a load may have for its pages to be read ahead. Rows of
// a small load are far from each other: each one costs a page of the primary keys, of
// the keys and of the summaries, which a large table does not have in memory, and
// reading them takes longer than writing. A large load reads its pages in order.
const prefetchRows = 20_000

// prefetch reads the pages that the load will write, on the helper's connection and
// beside the load.
type prefetch struct {
	places []place
}

type place struct {
	month civil.Month
	user  int32
	date  civil.Date
}

// newPrefetch is nil for a load of too many rows.
func (l *load) newPrefetch() *prefetch {
	if l.valid.Len() > prefetchRows || l.distributed {
		return nil
	}
	return &prefetch{}
}

func (w *prefetch) addAll(b *batch) {
	if w == nil {
		return
	}
	from := 0
	for _, end := range b.ends {
		p := packed(b.rows[from:end])
		month := p.date().Month()
		w.places = append(w.places, place{month, p.user(), p.date()})
		from = end
	}
}

// run does nothing more where another session locks a table: the load does without.
func (w *prefetch) run(ctx context.Context, l *load, tx pgx.Tx) error {
	if len(w.places) == 0 {
		return nil
	}
	if err := w.read(ctx, l, tx); postgres.State(err) != pgerrcode.LockNotAvailable {
		return err
	}
	return nil
}

func (w *prefetch) read(ctx context.Context, l *load, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, fmt.Sprintf("SET LOCAL lock_timeout = %d", lockTry.Milliseconds())); err != nil {
		return err
	}
	slices.SortFunc(w.places, func(a, b place) int { return cmp.Or(cmp.Compare(a.month, b.month), cmp.Compare(a.user, b.user)) })
	users, dates := make([]int32, len(w.places)), make([]time.Time, len(w.places))
	for i, p := range w.places {
		users[i], dates[i] = p.user, p.date.Time()
	}
	first, last := slices.MinFunc(dates, time.Time.Compare), slices.MaxFunc(dates, time.Time.Compare)
	if _, err := tx.Exec(ctx, l.loader.statements.Get("prefetch_rows"), pgx.QueryExecModeCacheDescribe, users, dates, first, last); err != nil {
		return fmt.Errorf("read the primary keys ahead: %w", err)
	}
	if _, err := tx.Exec(ctx, l.loader.statements.Get("prefetch_months"), pgx.QueryExecModeCacheDescribe, users, dates); err != nil {
		return fmt.Errorf("read the months' totals ahead: %w", err)
	}
	slices.Sort(users)
	if _, err := tx.Exec(ctx, l.loader.statements.Get("prefetch_users"), pgx.QueryExecModeCacheDescribe, slices.Compact(users)); err != nil {
		return fmt.Errorf("read the summaries ahead: %w", err)
	}
	return nil
}
