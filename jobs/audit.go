package jobs

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/opentax/tally/internal/postgres"
)

// Actions of audit events that this package writes.
const (
	ActionRunRequested = "run.requested"
	ActionRunSkipped   = "run.skipped"
	ActionRunCancelled = "run.cancelled"
	ActionQueueChange  = "queue.change" // a change asked for through River UI
)

// An Event says who asked for what, from where.
type Event struct {
	Actor   string // a person, "schedule", "cli" …
	Action  string // such as "run.requested"
	Subject string // what it was done to, such as a run's id
	Origin  string // a process or a network address; may be empty
	Detail  map[string]any
}

// Execer runs a statement: a pool, a connection or a transaction of pgx. Given a
// transaction, the event is there if and only if what it speaks of is.
type Execer interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// Record adds an event to the audit trail, which only grows.
func Record(ctx context.Context, db Execer, e Event) error {
	detail := []byte("{}")
	if e.Detail != nil {
		var err error
		if detail, err = json.Marshal(e.Detail); err != nil {
			return fmt.Errorf("audit event %s: %w", e.Action, err)
		}
	}
	if _, err := db.Exec(ctx, insertEvent, postgres.Text(e.Actor), e.Action, postgres.Text(e.Subject), postgres.Text(e.Origin), string(cleanJSON(detail))); err != nil {
		return fmt.Errorf("audit event %s: %w", e.Action, err)
	}
	return nil
}
