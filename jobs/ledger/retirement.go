package ledger

import (
	"context"
	_ "embed" // for retirement.sql
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/opentax/tally/internal/reject"
	"github.com/opentax/tally/internal/sqlfile"
)

//go:embed retirement.sql
var retirementSQL string

// StatusQueued is that of a retirement whose job has not started.
const StatusQueued = "queued"

// Retirement is a request to retire months, and what became of it.
type Retirement struct {
	bun.BaseModel `bun:"table:etl_retirements,alias:retirement"`

	ID          int64                `bun:"id" json:"id" minimum:"1" example:"1" doc:"The retirement's id."`
	Before      string               `bun:"before" json:"before" example:"2020-01" doc:"All months before this one."`
	Totals      string               `bun:"totals" json:"totals" enum:"keep,drop" doc:"Whether the rollups keep the share of the months."`
	Export      bool                 `bun:"export" json:"export" doc:"Whether the rows are exported first."`
	KeepTables  bool                 `bun:"keep_tables" json:"keep_tables" doc:"Whether the rows are kept in tables of their own."`
	DryRun      bool                 `bun:"dry_run" json:"dry_run" doc:"Whether nothing is changed: the result is what would be."`
	Reason      string               `bun:"reason" json:"reason" doc:"Why."`
	RequestedBy string               `bun:"requested_by" json:"requested_by" example:"token:ann" doc:"Who asked for it."`
	CreatedAt   time.Time            `bun:"created_at" json:"created_at" doc:"When it was requested."`
	Status      string               `bun:"status" json:"status" enum:"queued,running,succeeded,failed" doc:"queued: to be started, or tried again; succeeded and failed are final."`
	JobID       int64                `bun:"job_id" json:"job_id,omitempty" example:"12" doc:"The queue's job, for as long as the queue keeps it."`
	FinishedAt  time.Time            `bun:"finished_at" json:"finished_at,omitzero" doc:"When it ended."`
	Error       string               `bun:"error" json:"error,omitempty" doc:"Why it failed."`
	Result      *reject.RetireResult `bun:"result,type:jsonb" json:"result,omitempty" doc:"What it changed; with dry_run, what it would."`
	// Created reports that it was created by the call that returned it.
	Created bool `bun:"-" json:"-"`
}

// Retirement is one that was requested, or [ErrRetirementNotFound].
func (s *Store) Retirement(ctx context.Context, id int64) (Retirement, error) {
	var found []Retirement
	if err := s.selectRetirement(id).Scan(ctx, &found); err != nil {
		return Retirement{}, fmt.Errorf("read the retirement %d: %w", id, err)
	}
	if len(found) == 0 {
		return Retirement{}, fmt.Errorf("retirement %d: %w", id, ErrRetirementNotFound)
	}
	return found[0], nil
}

func (s *Store) selectRetirement(id int64) *bun.RawQuery {
	return s.db.NewRaw(sqlfile.Parse(retirementSQL).Get("retirement"), id)
}
