package ledger

import (
	"context"
	"encoding/json"
	"time"

	"github.com/uptrace/bun"
)

// LogLine is a line that an attempt logged while it ran.
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

// Logs are the lines of a run's log after the id given, in the order in which they
// were written. A run that goes on gets new ones all the time.
func (s *Store) Logs(ctx context.Context, runID, after int64, limit int) (lines []LogLine, err error) {
	lines = []LogLine{} // JSON has no null for it
	return lines, failed(s.selectLogs(runID, after, limit).Scan(ctx, &lines), "the log of run %d", runID)
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
