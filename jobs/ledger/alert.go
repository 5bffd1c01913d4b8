package ledger

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/uptrace/bun"

	"github.com/opentax/tally/internal/civil"
)

// Alert is a condition that needs action, from its beginning to its end.
type Alert struct {
	bun.BaseModel `bun:"table:alerts,alias:alert"`

	ID          int64      `bun:"id" json:"id" minimum:"1" example:"12" doc:"The alert's id."`
	Cause       string     `bun:"cause" json:"cause" example:"file.failed" doc:"The condition: run.failed, run.late, source.late, schedule.late, file.failed, file.warning, verify.drift or export.old."`
	Subject     string     `bun:"subject" json:"subject" example:"inbox/2024-01-31.csv" doc:"The run, source, path or target that it holds for."`
	What        string     `bun:"what" json:"what" example:"inbox/2024-01-31.csv: the file is empty" doc:"What happened when it began."`
	NextStep    string     `bun:"next_step" json:"next_step" doc:"What to do about it."`
	RunID       int64      `bun:"run_id" json:"run_id,omitempty" minimum:"1" example:"7" doc:"The run."`
	LogicalDate civil.Date `bun:"logical_date" json:"logical_date" doc:"The logical date."`
	Source      string     `bun:"source" json:"source,omitempty" example:"inbox" doc:"The source."`
	Path        string     `bun:"path" json:"path,omitempty" example:"inbox/2024-01-31.csv" doc:"The file, or the target of the export."`
	Code        string     `bun:"code" json:"code,omitempty" example:"reject_limit" doc:"Why a file failed, as a code."`
	OpenedAt    time.Time  `bun:"opened_at" json:"opened_at" doc:"When it began."`
	ClosedAt    time.Time  `bun:"closed_at,nullzero" json:"closed_at,omitzero" doc:"When it was over; left out while it is open."`
}

// ErrAlertNotFound reports that there is no such alert.
var ErrAlertNotFound = errors.New("no such alert")

// Open reports whether the condition still holds.
func (a Alert) Open() bool { return a.ClosedAt.IsZero() }

// Alert is one alert, or [ErrAlertNotFound].
func (s *Store) Alert(ctx context.Context, id int64) (Alert, error) {
	alerts, err := list[Alert](ctx, s.selectAlert(id), "alert %d", id)
	if err == nil && len(alerts) == 0 {
		err = fmt.Errorf("read alert %d: %w", id, ErrAlertNotFound)
	}
	if err != nil {
		return Alert{}, err
	}
	return alerts[0], nil
}

func (s *Store) selectAlert(id int64) *bun.SelectQuery {
	return s.db.NewSelect().Model((*Alert)(nil)).Where("id = ?", id)
}

// Alerts are the open alerts, then the closed ones, each newest first, after the given one
// (id 0: from the first).
func (s *Store) Alerts(ctx context.Context, afterOpen bool, afterID int64, limit int) ([]Alert, error) {
	return list[Alert](ctx, s.selectAlerts(afterOpen, afterID, limit), "alerts")
}

func (s *Store) selectAlerts(afterOpen bool, afterID int64, limit int) *bun.SelectQuery {
	if afterID == 0 {
		afterOpen, afterID = true, math.MaxInt64
	}
	return page(s.db.NewSelect().Model((*Alert)(nil)).
		Where("((closed_at IS NOT NULL), (-id)) > (?, ?)", !afterOpen, -afterID).OrderExpr("(closed_at IS NOT NULL), (-id)"), limit)
}
