package api

import (
	"context"

	"github.com/jackc/pgx/v5/pgconn"
)

// Actions of audit events that this package writes.
const (
	ActionTokenAdded   = "token.added"
	ActionTokenRevoked = "token.revoked"
	ActionDenied       = "access.denied"     // a request that was refused with 401, 403 or 429
	ActionSuppressed   = "access.suppressed" // how many refused requests have no event of their own
)

// An Event of the audit trail says who asked for what, from where.
type Event struct {
	Actor   string // "token:NAME", "cli:USER" or "anonymous"
	Action  string
	Subject string // what it was done to, or asked for
	Origin  string // a process or a network address
	Detail  map[string]any
}

// Execer runs a statement: a pool, a connection or a transaction of pgx.
type Execer interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// Recorder adds an event to the audit trail. Given a transaction, the event is
// there if and only if what it speaks of is.
type Recorder func(ctx context.Context, db Execer, e Event) error
