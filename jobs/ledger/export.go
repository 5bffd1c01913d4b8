package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/uptrace/bun"
)

// Export is an export that ended, and how.
type Export struct {
	bun.BaseModel `bun:"table:etl_exports,alias:export"`

	RunID        int64     `bun:"run_id,nullzero"` // the run after which it was due; 0 for one by hand
	JobID        int64     `bun:"job_id,nullzero"`
	RequestedBy  string    `bun:"requested_by"`
	Target       string    `bun:"target"`
	Status       string    `bun:"status"`
	Error        string    `bun:"error,nullzero"`
	Epoch        int64     `bun:"epoch"`
	LastFileID   int64     `bun:"last_file_id"`
	Files        int       `bun:"files"`
	Written      int       `bun:"written"`
	Removed      int       `bun:"removed"`
	Rows         int64     `bun:"rows"`
	TotalAmount  string    `bun:"total_amount"`
	Bytes        int64     `bun:"bytes"`
	BytesWritten int64     `bun:"bytes_written"`
	Worker       string    `bun:"worker"`
	CodeVersion  string    `bun:"code_version"`
	StartedAt    time.Time `bun:"started_at"`
}

// AddExport adds an export.
func (s *Store) AddExport(ctx context.Context, e Export) error {
	if _, err := s.insertExport(e).Exec(ctx); err != nil {
		return fmt.Errorf("record the export to %s: %w", e.Target, err)
	}
	return nil
}

func (s *Store) insertExport(e Export) *bun.InsertQuery { return s.db.NewInsert().Model(&e) }
