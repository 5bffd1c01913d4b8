package summaries

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/uptrace/bun"
)

// MaxTop is the maximum number of users in a list of the top users.
const MaxTop = 1000

// Order is a column that a list of users is sorted by.
type Order string

// The orders, each descending; equal users are in order of their ids.
const (
	ByAmount       Order = "total_amount"
	ByTransactions Order = "total_transactions"
)

func (o Order) check() error {
	if o == ByAmount || o == ByTransactions {
		return nil
	}
	return fmt.Errorf("list the top users: by %q, want %s or %s", o, ByAmount, ByTransactions)
}

// TopReading is the result of one statement: the first MaxTop users in an order, without their runs,
// and the epoch as of [Reading].
type TopReading struct {
	List    []Summary
	Epoch   int64
	Replica bool // read from a replica
}

// Top is the first users, at most limit.
func (r TopReading) Top(limit int) []Summary { return r.List[:min(max(limit, 0), len(r.List))] }

// topRow is a summary beside the epoch of the same snapshot.
type topRow struct {
	Summary `bun:",extend"`
	Epoch   int64 `bun:"epoch,scanonly"`
}

func selectTop(db *bun.DB, by Order) *bun.SelectQuery {
	return db.NewSelect().Model((*topRow)(nil)).
		ColumnExpr("?TableColumns, (SELECT epoch FROM summary_epoch) AS epoch").
		OrderExpr("? DESC, user_id", bun.Ident(by)).Limit(MaxTop)
}

// Top returns the first users in an order, at most limit and [MaxTop], without their runs. It reads every summary: every
// load, and every change of a summary, would have to write an index for it.
func (s *Store) Top(ctx context.Context, by Order, limit int) ([]Summary, error) {
	r, err := s.ReadTop(ctx, by)
	return r.Top(limit), err
}

// ReadTop reads the first MaxTop users, so that one reading serves every limit; see [Cache.Top].
func (s *Store) ReadTop(ctx context.Context, by Order) (r TopReading, err error) {
	if err := by.check(); err != nil {
		return r, err
	}
	leave, err := s.Turn(ctx)
	if err != nil {
		return r, fmt.Errorf("list the top users: %w", err)
	}
	defer leave()
	var rows []topRow
	if err := selectTop(s.db, by).Scan(ctx, &rows); err != nil {
		return r, fmt.Errorf("list the top users: %w", err)
	}
	r.List = make([]Summary, len(rows))
	for i, row := range rows {
		r.List[i], r.Epoch = row.Summary, row.Epoch
	}
	return r, nil
}

// topEntry is a reading in memory. Any change of a summary can change the order, so it is served
// only while its epoch includes every announcement.
type topEntry struct {
	TopReading
	session *session
}

// Top is [Store.Top], from memory until the next commit that changes data; the list is shared
// by all callers. One caller for each order reads. Those that come meanwhile share the reading after
// it, which includes every commit before their calls.
func (c *Cache) Top(ctx context.Context, by Order, limit int) ([]Summary, error) {
	r, err := c.LookTop(ctx, by, 0)
	return r.Top(limit), err
}

// LookTop is Top with the epoch, as of [Cache.Look].
func (c *Cache) LookTop(ctx context.Context, by Order, minEpoch int64) (TopReading, error) {
	if err := by.check(); err != nil {
		return TopReading{}, err
	}
	if r, ok := c.storedTop(by); ok && r.Epoch >= minEpoch {
		return r, nil
	}
	r, own, err := c.shareTop(ctx, by)
	if err == nil && !own {
		var ok bool
		if r, ok = c.storedTop(by); !ok {
			r, _, err = c.shareTop(ctx, by)
		}
	}
	if err == nil && r.Epoch < minEpoch {
		r, err = c.config.Store.ReadTop(ctx, by)
	}
	return r, err
}

func (c *Cache) storedTop(by Order) (r TopReading, ok bool) {
	stored, _ := c.tops.Load(by)
	e, ok := stored.(topEntry)
	s := c.session.Load()
	return e.TopReading, ok && s != nil && e.session == s && e.Epoch >= s.applied.Load()
}

// shareTop reads, or waits for the reading in flight, which began before the call.
func (c *Cache) shareTop(ctx context.Context, by Order) (r TopReading, own bool, err error) {
	var began atomic.Bool
	read, err := c.shared(ctx, "top/"+string(by), func(ctx context.Context) (any, error) {
		began.Store(true)
		s := c.session.Load()
		r, err := c.config.Store.ReadTop(ctx, by)
		if err == nil && s != nil {
			c.tops.Store(by, topEntry{r, s})
		}
		return r, err
	})
	r, _ = read.(TopReading) // the zero value beside an error
	return r, began.Load(), err
}
