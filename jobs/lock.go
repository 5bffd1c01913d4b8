package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// runLockClass is the first half of the advisory lock on a run, the second is
	// the run's id: "ta" in ASCII, this program's own choice.
	runLockClass = 0x7461
	// reconcileLockClass is the lock under which killed runs are looked for.
	reconcileLockClass = 0x7462

	lockCheckEvery   = 5 * time.Second
	lockCheckTimeout = 30 * time.Second
	unlockTimeout    = 5 * time.Second
)

var (
	// ErrRunBusy says that another process is working on the run.
	ErrRunBusy = errors.New("another process is working on the run")

	errLockLost = errors.New("the connection that held the run's lock is lost")
)

// runLock says for as long as it is held that the process that works on a run is
// alive. It is a session's advisory lock: PostgreSQL lets go of it when the
// connection ends, also by kill -9.
type runLock struct {
	conn *pgxpool.Conn
	key  int32
	stop context.CancelFunc
	done chan struct{}
}

// runLockKey must agree with orphaned_runs and lost_manual_runs in jobs.sql. Two runs
// share a key after two thousand million runs; they would take turns.
func runLockKey(runID int64) int32 { return int32(runID & (1<<31 - 1)) }

// lockRun takes the lock of a run or returns [ErrRunBusy]. It holds a connection
// of the pool until release. Should that connection be lost, lost is called: by
// then another process may have the run.
func lockRun(ctx context.Context, pool *pgxpool.Pool, runID int64, lost func(error)) (*runLock, error) {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("lock run %d: %w", runID, err)
	}
	l := &runLock{conn: conn, key: runLockKey(runID), done: make(chan struct{})}
	taken, err := l.take(ctx)
	if err == nil && !taken {
		err = ErrRunBusy
	}
	if err != nil {
		l.discard(ctx)
		return nil, fmt.Errorf("lock run %d: %w", runID, err)
	}
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.stop = stop
	go l.watch(watching, lost)
	return l, nil
}

func (l *runLock) take(ctx context.Context) (taken bool, err error) {
	// A machine that loses power closes no connection. By PostgreSQL's default
	// the lock would outlive it for two hours; this makes it half a minute. On a
	// Unix socket the settings do nothing.
	const keepAlive = "SELECT set_config('tcp_keepalives_idle', '10', false), set_config('tcp_keepalives_interval', '5', false), set_config('tcp_keepalives_count', '3', false), set_config('idle_session_timeout', '0', false)"
	if _, err := l.conn.Exec(ctx, keepAlive); err != nil {
		return false, err
	}
	err = l.conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1::int4, $2::int4)", int32(runLockClass), l.key).Scan(&taken)
	return taken, err
}

// watch has nothing to do with keeping the lock; it notices that it is gone.
func (l *runLock) watch(ctx context.Context, lost func(error)) {
	defer close(l.done)
	ticker := time.NewTicker(lockCheckEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		// Not cut short by release, since that would end the connection before
		// the lock is given back.
		checking, cancel := context.WithTimeout(context.WithoutCancel(ctx), lockCheckTimeout)
		err := l.conn.Ping(checking)
		cancel()
		if err != nil {
			lost(fmt.Errorf("%w: %w", errLockLost, err))
			return
		}
	}
}

// release gives the lock back, also when ctx is cancelled.
func (l *runLock) release(ctx context.Context) {
	l.stop()
	<-l.done
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockTimeout)
	defer cancel()
	// An error means that the connection is gone, and the lock with it.
	_, _ = l.conn.Exec(ctx, "SELECT pg_advisory_unlock($1::int4, $2::int4)", int32(runLockClass), l.key)
	l.discard(ctx)
}

// discard ends the connection, with its settings, instead of giving it back.
func (l *runLock) discard(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockTimeout)
	defer cancel()
	_ = l.conn.Conn().Close(ctx) // it holds nothing any more
	l.conn.Release()
}

// tryReconcileLock says whether this transaction may look for killed runs; one
// process at a time does.
func tryReconcileLock(ctx context.Context, tx pgx.Tx) (taken bool, err error) {
	err = tx.QueryRow(ctx, "SELECT pg_try_advisory_xact_lock($1::int4, 0)", int32(reconcileLockClass)).Scan(&taken)
	return taken, err
}
