package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/uptrace/bun"

	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/internal/postgres"
)

// Actions of audit events.
const (
	ActionRunRequested   = "run.requested"
	ActionRunSkipped     = "run.skipped"
	ActionRunCancelled   = "run.cancelled"
	ActionScheduleSet    = "schedule.set" // by hand, with a reason
	ActionQueueChange    = "queue.change" // a change requested through River UI
	ActionTokenAdded     = "token.added"
	ActionTokenRevoked   = "token.revoked"
	ActionDenied         = "access.denied"     // a request rejected with 401, 403 or 429
	ActionSuppressed     = "access.suppressed" // counts rejected requests without an event of their own
	ActionRetireRequest  = "partitions.retire_requested"
	ActionRebuilt        = "rollups.rebuilt"
	ActionSchemaMigrated = "schema.migrated"
)

// Event is an entry of the audit trail.
type Event struct {
	bun.BaseModel `bun:"table:audit_events,alias:event"`

	At      time.Time      `bun:"at"`
	Actor   string         `bun:"actor"` // "token:NAME", "cli:USER", "schedule", "anonymous" …
	Action  string         `bun:"action"`
	Subject string         `bun:"subject"` // such as a run's id
	Origin  string         `bun:"origin"`  // a process or a network address; may be empty
	Detail  map[string]any `bun:"detail,type:jsonb"`
}

// Execer runs a statement: a pool, a connection or a transaction of pgx.
type Execer interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// insertEvent is not Bun's, since it runs in transactions of pgx, which River shares.
const insertEvent = "INSERT INTO audit_events (actor, action, subject, origin, detail) VALUES ($1, $2, $3, $4, $5::jsonb)"

// Record adds an event to the audit trail. In a transaction it commits with its subject.
func Record(ctx context.Context, db Execer, e Event) error {
	if e.Detail == nil {
		e.Detail = map[string]any{}
	}
	detail, err := json.Marshal(e.Detail)
	if err == nil {
		_, err = db.Exec(ctx, insertEvent,
			postgres.Text(e.Actor), e.Action, postgres.Text(e.Subject), postgres.Text(e.Origin), string(postgres.JSON(detail)))
	}
	if err != nil {
		return fmt.Errorf("audit event %s: %w", e.Action, err)
	}
	return nil
}

// Export is an export that ended.
type Export struct {
	bun.BaseModel `bun:"table:etl_exports,alias:export"`

	RunID        int64     `bun:"run_id,nullzero"` // the run before; 0 for a manual export
	JobID        int64     `bun:"job_id,nullzero"`
	RequestedBy  string    `bun:"requested_by"`
	Target       string    `bun:"target"`
	Status       string    `bun:"status"`
	Error        string    `bun:"error,nullzero"`
	Epoch        int64     `bun:"epoch"`
	LastFileID   int64     `bun:"last_file_id"`
	Files        int       `bun:"files"`
	Written      int       `bun:"written"`
	Removed      int       `bun:"removed"`
	Rows         int64     `bun:"rows"`
	TotalAmount  string    `bun:"total_amount"`
	Bytes        int64     `bun:"bytes"`
	BytesWritten int64     `bun:"bytes_written"`
	Worker       string    `bun:"worker"`
	CodeVersion  string    `bun:"code_version"`
	StartedAt    time.Time `bun:"started_at"`
	FinishedAt   time.Time `bun:"finished_at,scanonly"`
}

// Sum is the total amount; zero where the ledger has none.
func (e Export) Sum() money.Sum {
	sum, _ := money.Parse(e.TotalAmount) // the database's own text of a number
	return sum
}

// AddExport records an export.
func (s *Store) AddExport(ctx context.Context, e Export) error {
	if _, err := s.insertExport(e).Exec(ctx); err != nil {
		return fmt.Errorf("record the export to %s: %w", e.Target, err)
	}
	return nil
}

func (s *Store) insertExport(e Export) *bun.InsertQuery { return s.db.NewInsert().Model(&e) }
