package summaries

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// heartbeat is the time after which an idle connection is pinged, and the time that
	// it has for the answer. A network that drops packets can hide a commit for twice
	// this.
	heartbeat  = 5 * time.Second
	firstRetry = 100 * time.Millisecond
	maxRetry   = 5 * time.Second
	closeWait  = time.Second
)

// errPooler says that the connection is not a session of the server's: LISTEN would
// be forgotten with the next transaction.
var errPooler = errors.New("the connection goes through a pooler, which loses notifications")

// Listen keeps the cache active until ctx is done: it receives notifications on a
// connection of its own, and makes a new one when that is lost. Behind a pooler it never
// listens, and the cache stays inactive.
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
		if !quiet { // once for each loss, not for each try
			c.logger.LogAttrs(ctx, slog.LevelWarn, "summaries are read from the database until notifications are received again", slog.Any("error", err))
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
	c.logger.DebugContext(ctx, "summaries are cached")
	for {
		notification, err := awaitNotification(ctx, conn)
		if err != nil {
			return true, fmt.Errorf("listen: %w", err)
		}
		if notification == nil {
			continue
		}
		a, err := parseAnnouncement(notification.Payload)
		if err != nil {
			return true, err // what it announced is unknown, so all is dropped
		}
		c.apply(s, a)
	}
}

const epochQuery = "SELECT epoch, pg_backend_pid() FROM summary_epoch"

// subscribe begins to listen, and reads the epoch after that: what was committed
// before is in the epoch, what is committed later will be announced.
func (c *Cache) subscribe(ctx context.Context) (_ *pgx.Conn, epoch int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*heartbeat)
	defer cancel()
	conn, err := c.connect(ctx)
	if err != nil {
		return nil, 0, fmt.Errorf("listen: connect: %w", err)
	}
	defer func() {
		if err != nil {
			closeConn(ctx, conn)
		}
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+announceChannel); err != nil {
		return nil, 0, fmt.Errorf("listen: %w", err)
	}
	var pid uint32
	err = conn.QueryRow(ctx, epochQuery, pgx.QueryExecModeExec).Scan(&epoch, &pid)
	if err != nil {
		return nil, 0, fmt.Errorf("listen: epoch: %w", err)
	}
	if pid != conn.PgConn().PID() {
		return nil, 0, fmt.Errorf("listen: %w", errPooler)
	}
	return conn, epoch, nil
}

// awaitNotification returns nil after a while in which there was none, and the
// connection was found alive.
func awaitNotification(ctx context.Context, conn *pgx.Conn) (*pgconn.Notification, error) {
	waiting, cancel := context.WithTimeout(ctx, heartbeat)
	defer cancel()
	n, err := conn.WaitForNotification(waiting)
	if err == nil || waiting.Err() == nil || ctx.Err() != nil || conn.IsClosed() {
		return n, err
	}
	asking, cancel := context.WithTimeout(ctx, heartbeat)
	defer cancel()
	return nil, conn.Ping(asking)
}

func closeConn(ctx context.Context, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWait)
	defer cancel()
	_ = conn.Close(ctx) // it is given up either way
}
