package ledger

import (
	"context"
	_ "embed" // for health.sql
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/opentax/tally/internal/sqlfile"
)

//go:embed health.sql
var healthSQL string

// recent bounds the lists of [Health].
const recent = 10

// Health is what workers did last, the newest first.
type Health struct {
	Verifications []Verification
	Exports       []Export
	Workers       []Worker
	Waiting       int64         // runs of dates, for a worker
	WaitingAge    time.Duration // the longest wait
}

// Worker is a worker with its last attempt at a run.
type Worker struct {
	bun.BaseModel `bun:"alias:worker"`

	Worker      string    `bun:"worker"`
	CodeVersion string    `bun:"code_version"`
	RunID       int64     `bun:"run_id"`
	Status      string    `bun:"status"`
	StartedAt   time.Time `bun:"started_at"`
	FinishedAt  time.Time `bun:"finished_at"`
}

// Health reads what workers did last.
func (s *Store) Health(ctx context.Context) (h Health, err error) {
	if h.Verifications, err = list[Verification](ctx, s.selectVerifications(), "the verifications"); err != nil {
		return h, err
	}
	if h.Exports, err = list[Export](ctx, s.selectExports(), "the exports"); err != nil {
		return h, err
	}
	if err = s.selectWorkers().Scan(ctx, &h.Workers); err != nil {
		return h, fmt.Errorf("read the workers: %w", err)
	}
	err = s.db.QueryRowContext(ctx, sqlfile.Parse(statsSQL).Get("waiting")).Scan(&h.Waiting, &h.WaitingAge)
	if err != nil {
		return h, fmt.Errorf("count the waiting runs: %w", err)
	}
	return h, nil
}

func (s *Store) selectVerifications() *bun.SelectQuery {
	return s.db.NewSelect().Model((*Verification)(nil)).ColumnExpr("?TableColumns, finished_at").OrderExpr("id DESC").Limit(recent)
}

func (s *Store) selectExports() *bun.SelectQuery {
	return s.db.NewSelect().Model((*Export)(nil)).ColumnExpr("?TableColumns, finished_at").OrderExpr("id DESC").Limit(recent)
}

func (s *Store) selectWorkers() *bun.RawQuery {
	return s.db.NewRaw(sqlfile.Parse(healthSQL).Get("workers"))
}
