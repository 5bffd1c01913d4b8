package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
)

const (
	// lockTimeout bounds each try of [LockTable], since later sessions queue behind it. It is shorter
	// than deadlock_timeout, so PostgreSQL never ends another session because of a try.
	lockTimeout = 200 * time.Millisecond
	lockPause   = 200 * time.Millisecond // between two tries, for the sessions behind
)

// LockTable locks all other sessions out of a table until the transaction ends, and reports whether
// it could. It tries for about wait; 0 is one try. It gives up early if a session that has a lock on
// the table waits, directly or not, for this one.
func LockTable(ctx context.Context, tx pgx.Tx, table string, wait time.Duration) (bool, error) {
	for deadline := time.Now().Add(wait); ; {
		circular, err := Circular(ctx, tx, table, 0)
		if circular || err != nil {
			return false, err
		}
		err = pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, fmt.Sprintf("SET LOCAL lock_timeout = %d; LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE; SET LOCAL lock_timeout = 0",
				lockTimeout.Milliseconds(), table))
			return err
		})
		switch {
		case err == nil:
			return true, nil
		case State(err) != pgerrcode.LockNotAvailable:
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

const circularQuery = `WITH RECURSIVE ahead(pid) AS (
    SELECT pid FROM pg_locks
    WHERE (relation = $1::text::regclass OR relation IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = $1::text::regclass))
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND pid <> pg_backend_pid() AND pid <> $2 AND (granted OR $2 <> 0)
    UNION
    SELECT unnest(pg_blocking_pids(pid)) FROM ahead
) SELECT EXISTS (SELECT FROM ahead WHERE pid = CASE $2 WHEN 0 THEN pg_backend_pid() ELSE $2 END)`

// Circular reports whether waiting for a lock on a table may be in vain: a session that has a lock on
// it or a partition waits, directly or not, for this session. Another one that waits in this process for this
// session, unknown to PostgreSQL, is named by its backend's pid; the sessions that wait for a
// lock on the table then count as well, since this session would queue behind them.
func Circular(ctx context.Context, tx pgx.Tx, table string, pid int32) (circular bool, err error) {
	if err := tx.QueryRow(ctx, circularQuery, table, pid).Scan(&circular); err != nil {
		return false, fmt.Errorf("look who has locks on %s: %w", table, err)
	}
	return circular, nil
}
