package ledger

import (
	"context"
	"database/sql"
	_ "embed" // for stats.sql
	"errors"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/opentax/tally/internal/sqlfile"
)

//go:embed stats.sql
var statsSQL string

// Stats are the ledger's figures for monitoring. Ages are by the database's clock.
type Stats struct {
	// Runs, by kind and state.
	Runs []RunCount
	// Files and their rows.
	FilesLoaded, FilesFailed                    int64
	Read, Loaded, Duplicate, Conflict, Rejected int64
	// LastSuccess is when a run of a date last succeeded, zero before the first.
	LastSuccess    time.Time
	LastSuccessAge time.Duration
	// LastExport is when an export after a run last succeeded, zero before the first.
	LastExport    time.Time
	LastExportAge time.Duration
	// LastVerification is when a verification last ended, zero before the first, with its
	// status and the differences that it found.
	LastVerification       time.Time
	LastVerificationAge    time.Duration
	LastVerificationStatus string
	LastVerificationDrifts int64
	// Waiting counts the runs of dates that wait for a worker, WaitingAge is the longest wait.
	Waiting    int64
	WaitingAge time.Duration
	// Schedule is nil where the figures were read without a schedule.
	Schedule *ScheduleStats
	// Alerts are the open ones, by cause.
	Alerts []AlertCount
	// Undelivered counts the messages about alerts that could not be delivered.
	Undelivered int64
}

// AlertCount counts the open alerts of a cause.
type AlertCount struct {
	Cause  string `bun:"cause"`
	Alerts int64  `bun:"alerts"`
}

// ScheduleStats are the schedule's figures.
type ScheduleStats struct {
	ClockSkew time.Duration // of this machine's clock, ahead of the database's
	Undecided int           // dates that ended after the last decided one; less than 0 if that has not ended
}

// RunCount counts the runs of a kind in a state.
type RunCount struct {
	Kind   string `bun:"kind"`
	Status string `bun:"status"`
	Runs   int64  `bun:"runs"`
}

// Stats reads the figures. Its cost grows with runs and files, not with rows.
func (s *Store) Stats(ctx context.Context) (stats Stats, err error) {
	if stats.Runs, err = list[RunCount](ctx, s.selectRunCounts(), "the counts of runs"); err != nil {
		return stats, err
	}
	if stats.Alerts, err = list[AlertCount](ctx, s.selectAlertCounts(), "the counts of alerts"); err != nil {
		return stats, err
	}
	statements := sqlfile.Parse(statsSQL)
	for name, figures := range map[string][]any{
		"file_counts": {&stats.FilesLoaded, &stats.FilesFailed,
			&stats.Read, &stats.Loaded, &stats.Duplicate, &stats.Conflict, &stats.Rejected},
		"last_success": {&stats.LastSuccess, &stats.LastSuccessAge},
		"last_export":  {&stats.LastExport, &stats.LastExportAge},
		"undelivered":  {&stats.Undelivered},
		"last_verification": {&stats.LastVerification, &stats.LastVerificationAge,
			&stats.LastVerificationStatus, &stats.LastVerificationDrifts},
		"waiting": {&stats.Waiting, &stats.WaitingAge},
	} {
		err := s.db.QueryRowContext(ctx, statements.Get(name)).Scan(figures...)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return stats, fmt.Errorf("read the figure %s: %w", name, err)
		}
	}
	return stats, nil
}

func (s *Store) selectRunCounts() *bun.SelectQuery {
	return s.db.NewSelect().Model((*Run)(nil)).Column("kind", "status").ColumnExpr("count(*) AS runs").
		Group("kind", "status").Order("kind", "status")
}

func (s *Store) selectAlertCounts() *bun.SelectQuery {
	return s.db.NewSelect().Model((*Alert)(nil)).Column("cause").ColumnExpr("count(*) AS alerts").
		Where("closed_at IS NULL").Group("cause").Order("cause")
}
