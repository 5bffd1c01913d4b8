package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/uptrace/bun"

	"github.com/opentax/tally/internal/postgres"
)

// Actions of audit events.
const (
	ActionRunRequested   = "run.requested"
	ActionRunSkipped     = "run.skipped"
	ActionRunCancelled   = "run.cancelled"
	ActionQueueChange    = "queue.change" // a change requested through River UI
	ActionTokenAdded     = "token.added"
	ActionTokenRevoked   = "token.revoked"
	ActionDenied         = "access.denied"     // a request that was refused with 401, 403 or 429
	ActionSuppressed     = "access.suppressed" // how many refused requests have no event of their own
	ActionSchemaMigrated = "schema.migrated"
)

// Event is an entry of the audit trail: who asked for what, from where.
type Event struct {
	bun.BaseModel `bun:"table:audit_events,alias:event"`

	At      time.Time      `bun:"at"`
	Actor   string         `bun:"actor"` // "token:NAME", "cli:USER", "schedule", "anonymous" …
	Action  string         `bun:"action"`
	Subject string         `bun:"subject"` // what it was done to, such as a run's id
	Origin  string         `bun:"origin"`  // a process or a network address; may be empty
	Detail  map[string]any `bun:"detail,type:jsonb"`
}

// Execer runs a statement: a pool, a connection or a transaction of pgx.
type Execer interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// insertEvent binds its arguments, past Bun: it runs in transactions of pgx, which
// River shares.
const insertEvent = "INSERT INTO audit_events (actor, action, subject, origin, detail) VALUES ($1, $2, $3, $4, $5::jsonb)"

// Record adds an event to the audit trail, which only grows. Given a transaction, the
// event is there if and only if what it speaks of is.
func Record(ctx context.Context, db Execer, e Event) error {
	if e.Detail == nil {
		e.Detail = map[string]any{}
	}
	detail, err := json.Marshal(e.Detail)
	if err == nil {
		_, err = db.Exec(ctx, insertEvent, postgres.Text(e.Actor), e.Action, postgres.Text(e.Subject), postgres.Text(e.Origin), string(postgres.JSON(detail)))
	}
	if err != nil {
		return fmt.Errorf("audit event %s: %w", e.Action, err)
	}
	return nil
}
