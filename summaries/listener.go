package summaries

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	defaultHeartbeat = 5 * time.Second
	subscribeTimeout = 10 * time.Second
	firstRetry       = 100 * time.Millisecond
	maxRetry         = 5 * time.Second
	closeWait        = time.Second
)

// errPooler: LISTEN would end with the next transaction.
var errPooler = errors.New("the connection goes through a pooler, which loses notifications")

// Listen keeps the cache active until ctx is done: it receives notifications on a connection of its
// own, and reconnects. Through a pooler the cache stays inactive.
func (c *Cache) Listen(ctx context.Context) {
	defer c.deactivate()
	wait, quiet := firstRetry, false
	for ctx.Err() == nil {
		listened, err := c.listen(ctx)
		if ctx.Err() != nil {
			return
		}
		if listened {
			wait, quiet = firstRetry, false
		}
		if !quiet { // once for each loss, not for each retry
			c.config.Logger.WarnContext(ctx, "summaries are read from the database until notifications are received again",
				"error", fmt.Errorf("listen: %w", err))
			quiet = true
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, maxRetry)
	}
}

// listen is the life of one connection.
func (c *Cache) listen(ctx context.Context) (listened bool, err error) {
	conn, epoch, err := c.subscribe(ctx)
	if err != nil {
		return false, err
	}
	defer closeConn(ctx, conn)
	s := c.activate(epoch)
	defer c.deactivate()
	c.config.Logger.DebugContext(ctx, "summaries are cached")
	for {
		notification, err := c.awaitNotification(ctx, conn)
		if err != nil {
			return true, err
		}
		if notification == nil {
			continue
		}
		a, err := parseAnnouncement(notification.Payload)
		if err != nil {
			return true, err // all entries are dropped
		}
		c.apply(s, a)
	}
}

const epochQuery = "SELECT epoch, pg_backend_pid() FROM summary_epoch"

// subscribe listens, then reads the epoch: it includes earlier commits, and later ones will be
// announced.
func (c *Cache) subscribe(ctx context.Context) (_ *pgx.Conn, epoch int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, subscribeTimeout)
	defer cancel()
	conn, err := c.config.Connect(ctx)
	if err != nil {
		return nil, 0, fmt.Errorf("connect: %w", err)
	}
	defer func() {
		if err != nil {
			closeConn(ctx, conn)
		}
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+announceChannel); err != nil {
		return nil, 0, err
	}
	var pid uint32
	err = conn.QueryRow(ctx, epochQuery, pgx.QueryExecModeExec).Scan(&epoch, &pid)
	if err != nil {
		return nil, 0, fmt.Errorf("epoch: %w", err)
	}
	if pid != conn.PgConn().PID() {
		return nil, 0, errPooler
	}
	return conn, epoch, nil
}

// awaitNotification returns nil if there was none, and the connection answered a ping.
func (c *Cache) awaitNotification(ctx context.Context, conn *pgx.Conn) (*pgconn.Notification, error) {
	waiting, cancel := context.WithTimeout(ctx, c.config.Heartbeat)
	defer cancel()
	n, err := conn.WaitForNotification(waiting)
	if err == nil || waiting.Err() == nil || ctx.Err() != nil || conn.IsClosed() {
		return n, err
	}
	pinging, cancel := context.WithTimeout(ctx, c.config.Heartbeat)
	defer cancel()
	return nil, conn.Ping(pinging)
}

func closeConn(ctx context.Context, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWait)
	defer cancel()
	_ = conn.Close(ctx) // it is not used again
}
