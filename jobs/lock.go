package jobs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/internal/postgres"
)

const (
	// runLockClass is the first half of the key of a run's advisory lock, "ta" in ASCII; the
	// second is the run's id.
	runLockClass       = 0x7461
	reconcileLockClass = 0x7462 // one process at a time requeues runs
	alertLockClass     = 0x7463 // one process at a time opens and closes alerts

	lockCheckEvery   = 5 * time.Second
	lockCheckTimeout = 30 * time.Second
	unlockTimeout    = 5 * time.Second
)

var (
	// ErrRunBusy reports that another process is working on the run.
	ErrRunBusy = errors.New("another process is working on the run")

	errLockLost = errors.New("the connection that held the run's lock is lost")
)

// runLock shows that the process that works on a run is alive. It is a session's advisory
// lock, which PostgreSQL releases when the connection ends, also by kill -9.
type runLock struct {
	conn     *pgxpool.Conn
	key      int32
	stop     func() // ends watching
	watching sync.WaitGroup
}

// lockRun acquires a run's lock or returns [ErrRunBusy]. It holds a connection of the
// pool until release.
func lockRun(ctx context.Context, pool *pgxpool.Pool, runID int64) (*runLock, error) {
	if err := postgres.NeedSessions(ctx, pool); err != nil { // the lock would be lost, or left behind
		return nil, fmt.Errorf("lock run %d: %w", runID, err)
	}
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("lock run %d: %w", runID, err)
	}
	// The key must agree with orphaned_runs and lost_manual_runs in jobs.sql. Runs share one
	// after two thousand million of them; they would take turns.
	l := &runLock{conn: conn, key: int32(runID & (1<<31 - 1)), stop: func() {}}
	acquired, err := l.acquire(ctx)
	if err == nil && !acquired {
		err = ErrRunBusy
	}
	if err != nil {
		l.discard(ctx)
		return nil, fmt.Errorf("lock run %d: %w", runID, err)
	}
	return l, nil
}

func (l *runLock) acquire(ctx context.Context) (acquired bool, err error) {
	// A machine that loses power closes no connection. By PostgreSQL's default the lock would
	// outlive it by two hours; this makes it half a minute. It has no effect on Unix sockets.
	const keepAlive = "SELECT set_config('tcp_keepalives_idle', '10', false), set_config('tcp_keepalives_interval', '5', false), " +
		"set_config('tcp_keepalives_count', '3', false), set_config('idle_session_timeout', '0', false)"
	if _, err := l.conn.Exec(ctx, keepAlive); err != nil {
		return false, err
	}
	err = l.conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1::int4, $2::int4)", int32(runLockClass), l.key).Scan(&acquired)
	return acquired, err
}

// guard returns a context that ends with errLockLost when the connection is lost: by then
// another process may have the run.
func (l *runLock) guard(ctx context.Context) context.Context {
	guarded, cancel := context.WithCancelCause(ctx)
	l.stop = func() { cancel(nil) }
	l.watching.Go(func() {
		for {
			select {
			case <-guarded.Done():
				return
			case <-time.After(lockCheckEvery):
			}
			// Not cut short by release: that would close the connection before the lock is
			// released.
			checking, checked := context.WithTimeout(context.WithoutCancel(ctx), lockCheckTimeout)
			err := l.conn.Ping(checking)
			checked()
			if err != nil {
				cancel(fmt.Errorf("%w: %w", errLockLost, err))
				return
			}
		}
	})
	return guarded
}

// release releases the lock, also when ctx has ended.
func (l *runLock) release(ctx context.Context) {
	l.stop()
	l.watching.Wait()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockTimeout)
	defer cancel()
	// An error means that the connection is lost, and the lock with it.
	_, _ = l.conn.Exec(ctx, "SELECT pg_advisory_unlock($1::int4, $2::int4)", int32(runLockClass), l.key)
	l.discard(ctx)
}

// discard closes the connection, which has settings of its own.
func (l *runLock) discard(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockTimeout)
	defer cancel()
	_ = l.conn.Conn().Close(ctx) // it holds nothing any more
	l.conn.Release()
}
