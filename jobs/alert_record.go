package jobs

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/jackc/pgx/v5"
)

// alertChange is an alert that opened or closed.
type alertChange struct { // its fields are in the order of the statements' columns
	ID             int64
	Cause, Subject string
	Closed         bool
}

func (c alertChange) log(ctx context.Context, logger *slog.Logger) {
	if c.Closed {
		logger.InfoContext(ctx, "alert is over", "alert", c.ID, "cause", c.Cause, "subject", c.Subject)
		return
	}
	logger.WarnContext(ctx, "alert", "alert", c.ID, "cause", c.Cause, "subject", c.Subject)
}

// recordAlerts opens and closes alerts by what was found, and returns those that changed.
func (s *Service) recordAlerts(ctx context.Context, tx pgx.Tx, found []finding) (changes []alertChange, err error) {
	var cause, subject, what, next, date []string
	var run []*int64
	var source, path, code []*string
	for _, f := range found {
		cause, subject, what, next = append(cause, f.cause), append(subject, f.Subject), append(what, f.What), append(next, f.next)
		run, date = append(run, f.RunID), append(date, f.LogicalDate.String())
		source, path, code = append(source, f.Source), append(path, f.Path), append(code, f.Code)
	}
	if _, err := tx.Exec(ctx, s.alerts.Get("keep_alerts"), cause, subject); err != nil {
		return nil, fmt.Errorf("keep alerts open: %w", err)
	}
	rows, _ := tx.Query(ctx, s.alerts.Get("close_alerts"), cause, subject, s.alertQuiet.Seconds()) // CollectRows returns its error
	gone, err := pgx.CollectRows(rows, pgx.RowToStructByPos[alertChange])
	if err != nil {
		return nil, fmt.Errorf("close alerts: %w", err)
	}
	for _, c := range gone {
		if c.Closed {
			changes = append(changes, c)
		}
	}
	rows, _ = tx.Query(ctx, s.alerts.Get("open_alerts"), cause, subject, what, next, run, date, source, path, code)
	opened, err := pgx.CollectRows(rows, pgx.RowToStructByPos[alertChange])
	if err != nil {
		return nil, fmt.Errorf("open alerts: %w", err)
	}
	return append(changes, opened...), nil
}
