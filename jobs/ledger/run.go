package ledger

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/uptrace/bun"

	"github.com/opentax/tally/internal/civil"
)

// Kinds of runs.
const (
	KindNightly  = "nightly"  // a logical date over the configured sources, by the schedule
	KindBackfill = "backfill" // the same, requested by someone
	KindManual   = "manual"   // paths given by hand
)

// States of a run, those of its last attempt.
const (
	StatusDue         = "due"         // not started yet
	StatusRunning     = "running"     // or killed, until that is noticed
	StatusSucceeded   = "succeeded"   // final
	StatusFailed      = "failed"      // final, unless someone asks again
	StatusRetrying    = "retrying"    // the database or an object store was unavailable; continues by itself
	StatusInterrupted = "interrupted" // the process was interrupted; continues elsewhere
	StatusLost        = "lost"        // the process crashed
)

// ErrRunNotFound says that the ledger has no such run.
var ErrRunNotFound = errors.New("no such run")

// ErrNotEnded says that a logical date has not ended, so that its run would miss what
// is still to come.
var ErrNotEnded = errors.New("the day has not ended yet")

// Run is a run with its last attempt. What an attempt has is zero while the run is due.
type Run struct {
	bun.BaseModel `bun:"table:etl_run_status,alias:run"`

	ID          int64      `bun:"id" json:"id" minimum:"1" example:"7" doc:"The run's id."`
	Kind        string     `bun:"kind" json:"kind" enum:"nightly,backfill,manual" doc:"nightly and backfill: the configured sources, one run a logical date; manual: paths given by hand."`
	LogicalDate civil.Date `bun:"logical_date" json:"logical_date" doc:"The day that the run is for: of a nightly run, the day that had just ended."`
	RequestedBy string     `bun:"requested_by" json:"requested_by" example:"schedule" doc:"Who asked for the run."`
	Paths       []string   `bun:"paths,array" json:"paths" nullable:"false" doc:"The paths given by hand; empty for the configured sources."`
	CreatedAt   time.Time  `bun:"created_at" json:"created_at" doc:"When the run was entered."`
	Status      string     `bun:"status" json:"status" enum:"due,running,retrying,interrupted,lost,succeeded,failed" doc:"Of the latest attempt. due: not started yet; running: started and not ended; retrying, interrupted, lost: to be tried again; succeeded and failed are final."`
	Attempt     int        `bun:"attempt" json:"attempt" format:"int32" minimum:"0" example:"1" doc:"The number of the latest attempt; 0 where there is none."`
	JobID       int64      `bun:"job_id" json:"job_id,omitempty" example:"12" doc:"The queue's job, for as long as the queue keeps it. Left out for a run in the foreground."`
	Worker      string     `bun:"worker" json:"worker,omitempty" example:"worker-1:4711" doc:"Who works, or worked, on the attempt."`
	CodeVersion string     `bun:"code_version" json:"code_version,omitempty" example:"1.0.0" doc:"The program's version in that attempt."`
	StartedAt   time.Time  `bun:"started_at" json:"started_at,omitzero" doc:"When the attempt started."`
	FinishedAt  time.Time  `bun:"finished_at" json:"finished_at,omitzero" doc:"When the attempt ended."`
	Error       string     `bun:"error" json:"error,omitempty" example:"inbox/2024-01-31.csv: no column \"amount\"" doc:"Why the attempt did not succeed."`
	// Created reports that the call which returned the run made it.
	Created bool `bun:"-" json:"-"`
}

// Runs are the runs before the one given (0: from the newest on), newest first.
func (s *Store) Runs(ctx context.Context, before int64, limit int) (runs []Run, err error) {
	runs = []Run{} // JSON has no null for it
	return runs, failed(s.selectRuns(before, limit).Scan(ctx, &runs), "runs")
}

func (s *Store) selectRuns(before int64, limit int) *bun.SelectQuery {
	q := page(s.db.NewSelect().Model((*Run)(nil)).OrderExpr("id DESC"), limit)
	if before > 0 {
		q = q.Where("id < ?", before)
	}
	return q
}

// Run is one run, or [ErrRunNotFound].
func (s *Store) Run(ctx context.Context, id int64) (run Run, err error) {
	err = s.selectRun(id).Scan(ctx, &run)
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrRunNotFound
	}
	return run, failed(err, "run %d", id)
}

func (s *Store) selectRun(id int64) *bun.SelectQuery {
	return s.db.NewSelect().Model((*Run)(nil)).Where("id = ?", id)
}

// RunsOfDates are the runs of the logical dates from … to, both included, by date.
func (s *Store) RunsOfDates(ctx context.Context, from, to civil.Date) (runs []Run, err error) {
	runs = []Run{} // JSON has no null for it
	return runs, failed(s.selectRunsOfDates(from, to).Scan(ctx, &runs), "the runs of %s to %s", from, to)
}

func (s *Store) selectRunsOfDates(from, to civil.Date) *bun.SelectQuery {
	return s.db.NewSelect().Model((*Run)(nil)).Where("kind <> ?", KindManual).
		Where("logical_date BETWEEN ? AND ?", from, to).OrderExpr("logical_date")
}
