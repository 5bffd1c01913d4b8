package replica

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	lookEvery   = 250 * time.Millisecond
	lookBehind  = 50 * time.Millisecond // of a replica that lacks an announced commit
	lookTimeout = time.Second
	closeWait   = time.Second
)

// Server is one server, and a pool for reads from it.
type Server struct {
	Name string // in messages and metrics
	Pool *pgxpool.Pool

	status atomic.Pointer[status]
	lost   atomic.Bool  // logged as unavailable, and not as available since
	failed atomic.Int64 // Unix time of the last failed request in ns
	wake   chan struct{}
	conn   *pgx.Conn // of the looks
}

// status is the result of the last look at a server that has succeeded, and the error since.
type status struct {
	err      error
	began    time.Time // of the look; zero if none has succeeded
	asOf     time.Time // the server lacks no commit before; zero if unknown
	epoch    int64
	position int64 // in the WAL: replayed by a replica, flushed by a primary
	timeline int64 // of a primary; a promotion begins a later one
	replica  bool
}

// failing is the status with an error since.
func (s status) failing(err error) *status {
	s.err = err
	return &s
}

// lookQuery reads the position after the snapshot of the epoch, so it is never too old for it.
const lookQuery = `
SELECT pg_is_in_recovery(), epoch,
       (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END - '0/0')::bigint,
       CASE WHEN pg_is_in_recovery() THEN 0 ELSE ('x' || left(pg_walfile_name(pg_current_wal_flush_lsn()), 8))::bit(32)::bigint END
FROM summary_epoch`

// look reads the state of the server, on a connection of its own.
func (s *Server) look(ctx context.Context) status {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	now := status{began: time.Now()}
	if now.err = s.connect(ctx); now.err != nil {
		return now
	}
	var position *int64 // unknown before a replica has replayed anything
	now.err = s.conn.QueryRow(ctx, lookQuery, pgx.QueryExecModeExec).Scan(&now.replica, &now.epoch, &position, &now.timeline)
	if position != nil {
		now.position = *position
	}
	if now.err != nil {
		s.disconnect(ctx)
	}
	return now
}

func (s *Server) connect(ctx context.Context) (err error) {
	if s.conn != nil && !s.conn.IsClosed() {
		return nil
	}
	if s.conn, err = pgx.ConnectConfig(ctx, s.Pool.Config().ConnConfig); err != nil {
		return fmt.Errorf("connect to %s: %w", s.Name, err)
	}
	return nil
}

func (s *Server) disconnect(ctx context.Context) {
	if s.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWait)
	defer cancel()
	_ = s.conn.Close(ctx) // it is not used again
	s.conn = nil
}

// known is the last look at the server, as far as it does not fail since.
func (s *Server) known() (status, bool) {
	last := s.status.Load()
	if last == nil || last.err != nil {
		return status{}, false
	}
	return *last, true
}

// fail passes the server over until the next look at it.
func (s *Server) fail(err error) {
	s.failed.Store(time.Now().UnixNano())
	if last, ok := s.known(); ok {
		s.status.Store(last.failing(err))
	}
}

// epoch is the server's count of commits that change data.
func (s *Server) epoch(ctx context.Context) (epoch int64, err error) {
	err = s.Pool.QueryRow(ctx, "SELECT epoch FROM summary_epoch", pgx.QueryExecModeExec).Scan(&epoch)
	return epoch, err
}
