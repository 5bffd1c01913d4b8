package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/opentax/tally/internal/civil"
)

// Kinds of runs.
const (
	KindNightly  = "nightly"  // a logical date over the configured sources, by the schedule
	KindBackfill = "backfill" // the same, on request
	KindManual   = "manual"   // paths given by hand
)

// Statuses of a run, those of its last attempt.
const (
	StatusDue         = "due"         // not started yet
	StatusRunning     = "running"     // or crashed, until that is recorded
	StatusSucceeded   = "succeeded"   // final
	StatusFailed      = "failed"      // final, unless requested again
	StatusRetrying    = "retrying"    // the database or an object store was unavailable, a file was set aside, or a source waits for an earlier date
	StatusInterrupted = "interrupted" // the process was stopped; another one continues
	StatusLost        = "lost"        // the process crashed
)

var (
	// ErrRunNotFound reports that the ledger has no such run.
	ErrRunNotFound = errors.New("no such run")
	// ErrNotEnded reports that a logical date has not ended, so its run would be incomplete.
	ErrNotEnded = errors.New("the day has not ended yet")
)

// Run is a run with its last attempt, whose fields are zero while the run is due.
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
	// Created reports that the run was created by the call that returned it.
	Created bool `bun:"-" json:"-"`
}

// Runs are the runs before the given one (0: the newest), newest first.
func (s *Store) Runs(ctx context.Context, before int64, limit int) ([]Run, error) {
	return list[Run](ctx, s.selectRuns(before, limit), "runs")
}

func (s *Store) selectRuns(before int64, limit int) *bun.SelectQuery {
	q := page(s.db.NewSelect().Model((*Run)(nil)).OrderExpr("id DESC"), limit)
	if before > 0 {
		q = q.Where("id < ?", before)
	}
	return q
}

// Run is one run, or [ErrRunNotFound].
func (s *Store) Run(ctx context.Context, id int64) (Run, error) {
	runs, err := list[Run](ctx, s.selectRun(id), "run %d", id)
	if err == nil && len(runs) == 0 {
		err = fmt.Errorf("read run %d: %w", id, ErrRunNotFound)
	}
	if err != nil {
		return Run{}, err
	}
	return runs[0], nil
}

func (s *Store) selectRun(id int64) *bun.SelectQuery {
	return s.db.NewSelect().Model((*Run)(nil)).Where("id = ?", id)
}

// RunsOfDates are the runs of the logical dates from … to, both included, by date.
func (s *Store) RunsOfDates(ctx context.Context, from, to civil.Date) ([]Run, error) {
	return list[Run](ctx, s.selectRunsOfDates(from, to), "the runs of %s to %s", from, to)
}

func (s *Store) selectRunsOfDates(from, to civil.Date) *bun.SelectQuery {
	return s.db.NewSelect().Model((*Run)(nil)).Where("kind <> ?", KindManual).
		Where("logical_date BETWEEN ? AND ?", from, to).OrderExpr("logical_date")
}

// LogLine is a line of an attempt's log.
type LogLine struct {
	bun.BaseModel `bun:"table:etl_logs,alias:line"`

	ID      int64           `bun:"id,autoincrement" json:"id" minimum:"1" example:"101" doc:"The line's id; ids ascend."`
	RunID   int64           `bun:"run_id" json:"-"`
	Attempt int             `bun:"attempt" json:"attempt" format:"int32" minimum:"1" example:"1" doc:"The attempt that logged it."`
	At      time.Time       `bun:"at" json:"at" doc:"When it was logged."`
	Level   string          `bun:"level" json:"level" example:"INFO" doc:"The line's level."`
	Message string          `bun:"message" json:"message" example:"file loaded" doc:"What happened."`
	Attrs   json.RawMessage `bun:"attrs,type:jsonb" json:"attrs" doc:"What the line says besides."`
}

// Logs are the lines of a run's log after the given one, in the order of writing. A
// running run gets new ones.
func (s *Store) Logs(ctx context.Context, runID, after int64, limit int) ([]LogLine, error) {
	return list[LogLine](ctx, s.selectLogs(runID, after, limit), "the log of run %d", runID)
}

func (s *Store) selectLogs(runID, after int64, limit int) *bun.SelectQuery {
	return page(s.db.NewSelect().Model((*LogLine)(nil)).
		Where("run_id = ?", runID).Where("id > ?", after).OrderExpr("id"), limit)
}

// AddLogs adds lines to the log, in their order.
func (s *Store) AddLogs(ctx context.Context, lines []LogLine) error {
	_, err := s.insertLogs(lines).Exec(ctx)
	return err
}

func (s *Store) insertLogs(lines []LogLine) *bun.InsertQuery {
	return s.db.NewInsert().Model(&lines).ExcludeColumn("id").Returning("NULL")
}

// LastLog is the newest line of a run's log, or a zero line.
func (s *Store) LastLog(ctx context.Context, runID int64) (LogLine, error) {
	lines, err := list[LogLine](ctx, s.selectLastLog(runID), "the log of run %d", runID)
	return append(lines, LogLine{})[0], err
}

func (s *Store) selectLastLog(runID int64) *bun.SelectQuery {
	return s.db.NewSelect().Model((*LogLine)(nil)).Where("run_id = ?", runID).OrderExpr("id DESC").Limit(1)
}
