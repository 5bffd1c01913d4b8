package load

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/postgres"
)

// The load waits for its helper, which PostgreSQL does not know. If a third session waits
// for the load and the helper queues behind it, none of the three would ever go on. So
// the helper takes its locks by short tries, gives up where the wait is in vain, and the
// load then starts again, which lets the third session pass.

// lockTry bounds a wait for a lock, before the load looks at who is ahead. It is shorter than
// deadlock_timeout, so PostgreSQL hardly ever ends the other session.
const lockTry = 500 * time.Millisecond

// inShortTries does something that locks a table or its partitions, in the load's or the helper's
// transaction. It waits for others for as long as none of them waits for the load; then the error is
// the lock's.
func (l *load) inShortTries(ctx context.Context, tx pgx.Tx, table string, do func(pgx.Tx) error) error {
	for {
		err := pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, fmt.Sprintf("SET LOCAL lock_timeout = %d", lockTry.Milliseconds())); err != nil {
				return err
			}
			if err := do(tx); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, "SET LOCAL lock_timeout = 0")
			return err
		})
		if postgres.State(err) != pgerrcode.LockNotAvailable {
			return err
		}
		circular, lookErr := postgres.Circular(ctx, tx, table, l.pid)
		if lookErr != nil {
			return lookErr
		}
		if circular {
			return fmt.Errorf("a session that waits for this load has or wants a lock on %s: %w", table, err)
		}
	}
}

// lockForLookups takes the lock of a reader.
func (l *load) lockForLookups(ctx context.Context, table string) error {
	return l.inShortTries(ctx, l.lookup.tx, table, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "LOCK TABLE "+table+" IN ACCESS SHARE MODE")
		return err
	})
}

// inTheWay reports whether the locks of other sessions have ended the load.
func inTheWay(err error) bool {
	state := postgres.State(err)
	return state == pgerrcode.LockNotAvailable || state == pgerrcode.DeadlockDetected
}

// yield lets go of everything for a moment, and starts again.
func (l *load) yield(ctx context.Context, cause error) (state, error) {
	l.rollback(ctx)
	l.yielded++
	l.request.Logger.WarnContext(ctx, "locks of other sessions are in the way of the load; starting again", "path", l.path, "try", l.yielded, "error", cause)
	select {
	case <-ctx.Done():
		return finished, ctx.Err()
	case <-time.After(yieldWait):
		return identify, nil
	}
}
