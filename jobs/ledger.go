package jobs

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/uptrace/bun"

	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/internal/sqlfile"
)

// pageLimit bounds what one read of the ledger returns.
const pageLimit = 1000

// Run is a run with its last attempt. What an attempt has is zero while the run
// is due.
type Run struct {
	ID          int64      `bun:"id" json:"id"`
	Kind        string     `bun:"kind" json:"kind"`
	LogicalDate civil.Date `bun:"logical_date" json:"logical_date"`
	RequestedBy string     `bun:"requested_by" json:"requested_by"`
	Paths       []string   `bun:"paths,array" json:"paths"`
	CreatedAt   time.Time  `bun:"created_at" json:"created_at"`
	Status      string     `bun:"status" json:"status"`
	Attempt     int        `bun:"attempt" json:"attempt"`
	JobID       *int64     `bun:"job_id" json:"job_id"`
	Worker      string     `bun:"worker" json:"worker"`
	CodeVersion string     `bun:"code_version" json:"code_version"`
	StartedAt   *time.Time `bun:"started_at" json:"started_at"`
	FinishedAt  *time.Time `bun:"finished_at" json:"finished_at"`
	Error       string     `bun:"error" json:"error"`
	// Created says that the call which returned the run has made it.
	Created bool `bun:"-" json:"-"`
}

// Attempt is one try at a run; Status is running while it has no outcome.
type Attempt struct {
	RunID       int64      `bun:"run_id" json:"run_id"`
	Number      int        `bun:"attempt" json:"attempt"`
	JobID       *int64     `bun:"job_id" json:"job_id"`
	Worker      string     `bun:"worker" json:"worker"`
	CodeVersion string     `bun:"code_version" json:"code_version"`
	StartedAt   time.Time  `bun:"started_at" json:"started_at"`
	Status      string     `bun:"status" json:"status"`
	Error       string     `bun:"error" json:"error"`
	FinishedAt  *time.Time `bun:"finished_at" json:"finished_at"`
}

// File is a file whose reading ended in a run.
type File struct {
	ID          int64            `bun:"id" json:"id"`
	RunID       int64            `bun:"run_id" json:"run_id"`
	Attempt     int              `bun:"attempt" json:"attempt"`
	Source      string           `bun:"source" json:"source"`
	Path        string           `bun:"path" json:"path"`
	SHA256      string           `bun:"sha256" json:"sha256"` // hexadecimal; "" if the file could not be read
	Bytes       int64            `bun:"bytes" json:"bytes"`
	Status      string           `bun:"status" json:"status"` // loaded or failed
	ErrorCode   string           `bun:"error_code" json:"error_code"`
	Error       string           `bun:"error" json:"error"`
	Read        int64            `bun:"read" json:"read"`
	Loaded      int64            `bun:"loaded" json:"loaded"`
	Duplicate   int64            `bun:"duplicate" json:"duplicate"`
	Conflict    int64            `bun:"conflict" json:"conflict"`
	Rejected    int64            `bun:"rejected" json:"rejected"`
	Replaced    int64            `bun:"replaced" json:"replaced"`
	Faults      map[string]int64 `bun:"faults,type:jsonb" json:"faults"`
	TotalAmount money.Sum        `bun:"total_amount" json:"total_amount"`
	Rules       json.RawMessage  `bun:"rules,type:jsonb" json:"rules"`
	CodeVersion string           `bun:"code_version" json:"code_version"`
	StartedAt   time.Time        `bun:"started_at" json:"started_at"`
	FinishedAt  time.Time        `bun:"finished_at" json:"finished_at"`
}

// Reject is a row that was read and not loaded.
type Reject struct {
	FileID        int64    `bun:"file_id" json:"file_id"`
	Line          int64    `bun:"line" json:"line"`
	Outcome       string   `bun:"outcome" json:"outcome"` // rejected, duplicate or conflict
	Faults        []string `bun:"faults,array" json:"faults"`
	TransactionID *string  `bun:"transaction_id" json:"transaction_id"`
	KeptFileID    *int64   `bun:"kept_file_id" json:"kept_file_id"` // of a duplicate or conflict: the row that was kept
	KeptLine      *int64   `bun:"kept_line" json:"kept_line"`
	Raw           string   `bun:"raw" json:"raw"`             // at most 64 KiB
	RawBytes      []byte   `bun:"raw_bytes" json:"raw_bytes"` // to the byte, where raw cannot be
	RawLength     int64    `bun:"raw_length" json:"raw_length"`
}

// LogLine is a line of a run's log.
type LogLine struct {
	ID      int64           `bun:"id" json:"id"`
	RunID   int64           `bun:"run_id" json:"run_id"`
	Attempt int             `bun:"attempt" json:"attempt"`
	At      time.Time       `bun:"at" json:"at"`
	Level   string          `bun:"level" json:"level"`
	Message string          `bun:"message" json:"message"`
	Attrs   json.RawMessage `bun:"attrs,type:jsonb" json:"attrs"`
}

// RejectsAfter is the last reject of the page before; zero is the start.
type RejectsAfter struct{ FileID, Line int64 }

const runColumns = `id, kind, logical_date, requested_by, paths, created_at, status, attempt, job_id,
	coalesce(worker, '') AS worker, coalesce(code_version, '') AS code_version, started_at, finished_at, coalesce(error, '') AS error`

// Ledger reads what ran, what was read and what became of it.
type Ledger struct {
	bun  *bun.DB
	pool *pgxpool.Pool
	sql  sqlfile.Statements
}

// NewLedger reads through pool, which stays the caller's to close.
func NewLedger(pool *pgxpool.Pool) *Ledger {
	return &Ledger{bun: postgres.Bun(pool), pool: pool, sql: sqlfile.Parse(ledgerSQL)}
}

// limited keeps a page between 1 row and pageLimit.
func limited(limit int) int64 {
	if limit < 1 {
		return pageLimit
	}
	return int64(min(limit, pageLimit))
}

// Runs are the runs before the one given (0: from the newest on), newest first.
// limit is at most 1000, which also 0 stands for; so it is for every page here.
func (l *Ledger) Runs(ctx context.Context, before int64, limit int) ([]Run, error) {
	runs := []Run{}
	if err := l.selectRuns(before, limit).Scan(ctx, &runs); err != nil {
		return nil, fmt.Errorf("read runs: %w", err)
	}
	return runs, nil
}

// Run is one run, or [ErrRunNotFound].
func (l *Ledger) Run(ctx context.Context, id int64) (Run, error) {
	var run Run
	err := l.selectRun(id).Scan(ctx, &run)
	if errors.Is(err, sql.ErrNoRows) {
		return Run{}, ErrRunNotFound
	}
	if err != nil {
		return Run{}, fmt.Errorf("read run %d: %w", id, err)
	}
	return run, nil
}

// runsOfDates are the runs of the dates of a range, both ends in it, by date.
func (l *Ledger) runsOfDates(ctx context.Context, from, to civil.Date) ([]Run, error) {
	runs := []Run{}
	err := l.selectRunsOfDates(from, to).Scan(ctx, &runs)
	if err != nil {
		return nil, fmt.Errorf("read the runs of %s to %s: %w", from, to, err)
	}
	return runs, nil
}

// Attempts are all tries at a run, the first one first.
func (l *Ledger) Attempts(ctx context.Context, runID int64) ([]Attempt, error) {
	attempts := []Attempt{}
	err := l.selectAttempts(runID).Scan(ctx, &attempts)
	if err != nil {
		return nil, fmt.Errorf("read the attempts of run %d: %w", runID, err)
	}
	return attempts, nil
}

// Files are the files of a run, in the order in which they ended, from the one
// after the id given (0: from the first).
func (l *Ledger) Files(ctx context.Context, runID, after int64, limit int) ([]File, error) {
	files := []File{}
	err := l.selectFiles(runID, after, limit).Scan(ctx, &files)
	if err != nil {
		return nil, fmt.Errorf("read the files of run %d: %w", runID, err)
	}
	return files, nil
}

// Rejects are the rows of a run's files that were not loaded, by file and line;
// outcome "" means all, else rejected, duplicate or conflict.
func (l *Ledger) Rejects(ctx context.Context, runID int64, after RejectsAfter, limit int, outcome string) ([]Reject, error) {
	rejects := []Reject{}
	if err := l.selectRejects(runID, after, limit, outcome).Scan(ctx, &rejects); err != nil {
		return nil, fmt.Errorf("read the rejects of run %d: %w", runID, err)
	}
	return rejects, nil
}

// Logs are the lines of a run's log after the id given, in the order in which
// they were written down. A run that goes on gets new ones all the time.
func (l *Ledger) Logs(ctx context.Context, runID, after int64, limit int) ([]LogLine, error) {
	lines := []LogLine{}
	err := l.selectLogs(runID, after, limit).Scan(ctx, &lines)
	if err != nil {
		return nil, fmt.Errorf("read the log of run %d: %w", runID, err)
	}
	return lines, nil
}
