package jobs

import (
	"context"
	_ "embed" // for alert.sql
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/civil"
)

//go:embed alert.sql
var alertSQL string

const (
	alertWindow        = 7 * 24 * time.Hour // in which a failure without a success after it is an alert
	alertQuiet         = time.Minute        // a condition that holds again within it has not ended
	alertScheduleGrace = 10 * time.Minute
	alertExportAge     = 2 * time.Hour // of the first run that no export has
	alertsOfCause      = 20            // each has messages; one more stands for the rest
)

// condition is a cause of alerts: a statement over the ledger that returns a row for each
// subject for which it holds now, oldest first.
type condition struct {
	cause string // run.failed is the statement run_failed
	next  string // the next step: {run}, {date}, {source} and {path} stand for the alert's
	// args are the statement's arguments; nil means that it does not apply.
	args func(s *Service, now time.Time) []any
}

// conditions are all causes of alerts. A further one is an entry here and a statement of
// alert.sql.
func conditions() []condition {
	recent := func(*Service, time.Time) []any { return []any{alertWindow.Seconds()} }
	return []condition{
		{"run.failed", "Remove the reason, then run: tally run --date {date}", recent},
		{"run.late", "See the run's log: GET /runs/{run}/logs, or /riverui/", (*Service).expectedSources},
		{"source.late", "Ask the sender of {source} for the file. A file that arrives is loaded by the next run, or now: tally run", (*Service).expectedSources},
		{"schedule.late", "See what keeps the schedule: tally schedule, and the log of tally up or tally work", func(s *Service, now time.Time) []any {
			return []any{s.lastEnded(now.Add(-alertScheduleGrace)).String(), s.lastEnded(now.Add(alertScheduleGrace)).String()}
		}},
		{"file.failed", "Correct the file or its source's settings, then load it: tally run {path}", recent},
		{"file.warning", "Set the convention of source {source} in tally.yaml, or apply its settings all the same: tally run --trust-rules {path}", recent},
		{"verify.drift", "See every difference: tally verify. Rebuild what differs: tally rebuild", func(*Service, time.Time) []any { return []any{} }},
		{"export.old", "Export now, which shows the reason: tally export", (*Service).exportTarget},
	}
}

func (c condition) statement() string { return strings.ReplaceAll(c.cause, ".", "_") }

// expectedSources are the sources with a time by which a file is expected, with the date of
// the last such file.
func (s *Service) expectedSources(now time.Time) []any {
	var sources, dates, times []string
	for _, source := range s.config.Sources {
		if date, ok := source.Due(now.In(s.config.TimeZone)); ok {
			sources, dates, times = append(sources, source.Name), append(dates, date.String()), append(times, source.ExpectedBy)
		}
	}
	if len(sources) == 0 {
		return nil
	}
	return []any{sources, dates, times}
}

func (s *Service) exportTarget(time.Time) []any {
	if s.config.ExportTo.IsZero() {
		return nil
	}
	return []any{s.config.ExportTo.Clean().String(), alertExportAge.Seconds(), exportKind}
}

// finding is a subject for which a condition holds. Its fields are the statement's columns.
type finding struct {
	cause, next  string
	Subject      string
	What         string
	RunID        *int64
	LogicalDate  civil.Date
	Source, Path *string
	Code         *string
}

// UpdateAlerts opens an alert for each subject for which a condition begins to hold, closes
// those whose condition has not held for a minute, and queues a message about each to every
// channel. All of that commits together, so it happens once, whatever crashes; one process
// at a time does it.
func (s *Service) UpdateAlerts(ctx context.Context, now time.Time) error {
	var changes []alertChange
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		var locked bool
		// A clock that is ahead makes nothing late.
		err := tx.QueryRow(ctx, "SELECT pg_try_advisory_xact_lock($1::int4, 0), least($2::timestamptz, now())", int32(alertLockClass), now).
			Scan(&locked, &now)
		if err != nil || !locked {
			return err
		}
		found, err := s.findings(ctx, tx, now)
		if err != nil {
			return err
		}
		if changes, err = s.recordAlerts(ctx, tx, found); err != nil {
			return err
		}
		return s.queueMessages(ctx, tx)
	})
	if err != nil {
		return fmt.Errorf("update the alerts: %w", err)
	}
	for _, c := range changes {
		c.log(ctx, s.logger)
	}
	return nil
}

func (s *Service) findings(ctx context.Context, tx pgx.Tx, now time.Time) (all []finding, err error) {
	for _, c := range conditions() {
		args := c.args(s, now)
		if args == nil {
			continue
		}
		rows, _ := tx.Query(ctx, s.alerts.Get(c.statement()), args...) // CollectRows returns its error
		found, err := pgx.CollectRows(rows, pgx.RowToStructByName[finding])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.cause, err)
		}
		for _, f := range bounded(found) {
			f.cause, f.next = c.cause, f.fill(c.next)
			all = append(all, f)
		}
	}
	return all, nil
}

// bounded lets one finding stand for those that are too many to tell one by one.
func bounded(found []finding) []finding {
	if len(found) <= alertsOfCause+1 {
		return found
	}
	rest := found[alertsOfCause]
	rest.What = fmt.Sprintf("%d more, such as %s: %s", len(found)-alertsOfCause, rest.Subject, rest.What)
	rest.Subject = "others"
	return append(slices.Clone(found[:alertsOfCause]), rest)
}

// fill puts the finding's values into a next step.
func (f finding) fill(next string) string {
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	run := "ID"
	if f.RunID != nil {
		run = fmt.Sprint(*f.RunID)
	}
	return strings.NewReplacer("{run}", run, "{date}", f.LogicalDate.String(), "{source}", text(f.Source), "{path}", text(f.Path)).Replace(next)
}
