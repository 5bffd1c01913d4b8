package jobs

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/pipeline/load"
)

const (
	expireQueue    = "expire"
	expireKind     = "expire"
	expireAttempts = 3 // the next night's job does what is left
)

// Age is a number of days; 0 means for good. In settings it is written as "400d".
type Age int

// UnmarshalText reads a number of days, such as 400d.
func (a *Age) UnmarshalText(text []byte) error {
	n, found := strings.CutSuffix(string(text), "d")
	days, err := strconv.Atoi(n)
	if !found || err != nil || days < 1 {
		return fmt.Errorf("%q is no age: want a number of days, as in 400d", text)
	}
	*a = Age(days)
	return nil
}

// Retention is how long records are kept. The zero value keeps all of them.
type Retention struct {
	Rejects     Age `yaml:"rejects"`      // rows that were not loaded, with their text
	Logs        Age `yaml:"logs"`         // lines of the runs' logs
	AuditEvents Age `yaml:"audit_events"` // who has asked for what
	Alerts      Age `yaml:"alerts"`       // closed ones, with their messages
}

// records are the ages, by what [load.Loader.Expire] calls the records.
func (r Retention) records() map[string]Age {
	return map[string]Age{load.RejectRecords: r.Rejects, load.LogRecords: r.Logs, load.EventRecords: r.AuditEvents, load.AlertRecords: r.Alerts}
}

// Expire removes the records that are past their retention, and counts them by table. Records whose
// removal fails do not keep others.
func (s *Service) Expire(ctx context.Context) (map[string]int64, error) {
	removed := map[string]int64{}
	var errs []error
	for table, age := range s.config.Retention.records() {
		if age == 0 {
			continue
		}
		before := s.config.Clock.Now().AddDate(0, 0, -int(age))
		n, err := s.changes.Expire(ctx, table, before, audit.By{Actor: "schedule", Reason: fmt.Sprintf("older than %d days", age)})
		removed[table] = n
		if err != nil {
			errs = append(errs, fmt.Errorf("remove old %s: %w", table, err))
		}
	}
	return removed, errors.Join(errs...)
}

type expireArgs struct {
	LogicalDate string `json:"logical_date"`
}

func (expireArgs) Kind() string { return expireKind }

func (expireArgs) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: expireQueue, MaxAttempts: expireAttempts}
}

// insertExpire gives River the removal of old records after a run.
func (s *Service) insertExpire(ctx context.Context, tx pgx.Tx, date civil.Date) error {
	if s.config.Retention == (Retention{}) {
		return nil
	}
	if _, err := s.river.InsertTx(ctx, tx, expireArgs{date.String()}, nil); err != nil {
		return fmt.Errorf("insert the removal of old records: %w", err)
	}
	return nil
}

// requeueExpire gives River the removal of old records whose worker crashed.
func (s *Service) requeueExpire(ctx context.Context, tx pgx.Tx) error {
	if s.config.Retention == (Retention{}) {
		return nil
	}
	var date civil.Date
	err := tx.QueryRow(ctx, s.sql.Get("orphaned_expiry"), expireKind, int64(load.ExpireLockClass), s.orphanedAfter.Seconds()).Scan(&date)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for an orphaned removal of old records: %w", err)
	}
	s.logger.WarnContext(ctx, "orphaned removal of old records requeued", "logical_date", date.String())
	return s.insertExpire(ctx, tx, date)
}

type expireWorker struct{ retried[expireArgs] }

// Work removes old records. Each commit takes its turn with the loads.
func (w *expireWorker) Work(ctx context.Context, job *river.Job[expireArgs]) error {
	s := w.service
	logger := withRiverLog(ctx, s.logger).With("logical_date", job.Args.LogicalDate)
	removed, err := s.Expire(ctx)
	if stopped := stopCause(ctx); stopped.err != nil {
		return stopped.jobError()
	}
	if err != nil {
		logger.ErrorContext(ctx, "old records could not be removed", "removed", removed, "error", err)
		return err
	}
	logger.InfoContext(ctx, "old records removed", "removed", removed)
	recordOutput(ctx, logger, removed)
	return nil
}
