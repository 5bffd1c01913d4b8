package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/opentax/tally/internal/civil"
)

// Statuses of a verification, besides [StatusRetrying] and [StatusFailed].
const (
	StatusClean = "clean" // no differences
	StatusDrift = "drift" // some
)

// Verification is a verification that ended.
type Verification struct {
	bun.BaseModel `bun:"table:etl_verifications,alias:verification"`

	LogicalDate *civil.Date     `bun:"logical_date"` // nil for a manual one
	JobID       int64           `bun:"job_id,nullzero"`
	RequestedBy string          `bun:"requested_by"`
	Status      string          `bun:"status"`
	Error       string          `bun:"error,nullzero"`
	Rows        int64           `bun:"rows"` // of transactions
	Users       int64           `bun:"users"`
	Days        int64           `bun:"days"`
	Files       int64           `bun:"files"`
	Differences int64           `bun:"differences"`
	Found       json.RawMessage `bun:"found,type:jsonb,nullzero,default:'[]'"` // the first differences
	Worker      string          `bun:"worker"`
	CodeVersion string          `bun:"code_version"`
	StartedAt   time.Time       `bun:"started_at"`
	FinishedAt  time.Time       `bun:"finished_at,scanonly"`
}

// AddVerification records a verification.
func (s *Store) AddVerification(ctx context.Context, v Verification) error {
	if _, err := s.insertVerification(v).Exec(ctx); err != nil {
		return fmt.Errorf("record the verification: %w", err)
	}
	return nil
}

func (s *Store) insertVerification(v Verification) *bun.InsertQuery {
	return s.db.NewInsert().Model(&v).Returning("NULL")
}
