package ledger

import (
	"context"
	"encoding/json"
	"time"

	"github.com/uptrace/bun"

	"github.com/opentax/tally/internal/money"
)

// File is a file whose reading ended: what was in it and what became of it. The
// counts add up: read = loaded + duplicate + conflict + rejected.
type File struct {
	bun.BaseModel `bun:"table:etl_files,alias:file"`

	ID          int64            `bun:"id" json:"id" minimum:"1" example:"3" doc:"The file's id."`
	RunID       int64            `bun:"run_id" json:"run_id" minimum:"1" example:"7" doc:"The run that read it."`
	Attempt     int              `bun:"attempt" json:"attempt" format:"int32" minimum:"1" example:"1" doc:"The attempt that read it."`
	Source      string           `bun:"source" json:"source" example:"inbox" doc:"The source that it belongs to."`
	Path        string           `bun:"path" json:"path" example:"inbox/2024-01-31.csv" doc:"Where it was read."`
	SHA256      string           `bun:"sha256" json:"sha256,omitempty" pattern:"^[0-9a-f]{64}$" doc:"Checksum of the content after decompression, in hexadecimal."`
	Bytes       int64            `bun:"bytes" json:"bytes" minimum:"0" example:"48213" doc:"Length of the content after decompression."`
	Status      string           `bun:"status" json:"status" enum:"loaded,failed" doc:"loaded: its rows are in; failed: nothing of it is."`
	ErrorCode   string           `bun:"error_code" json:"error_code,omitempty" example:"missing_column" doc:"Why the file failed, as a code."`
	Error       string           `bun:"error" json:"error,omitempty" doc:"Why the file failed, in words."`
	Read        int64            `bun:"read" json:"read" minimum:"0" example:"1015" doc:"Rows read."`
	Loaded      int64            `bun:"loaded" json:"loaded" minimum:"0" example:"784" doc:"Rows loaded."`
	Duplicate   int64            `bun:"duplicate" json:"duplicate" minimum:"0" example:"11" doc:"Rows that repeat a stored row, with the same values."`
	Conflict    int64            `bun:"conflict" json:"conflict" minimum:"0" example:"14" doc:"Rows with the id of a stored row, and other values."`
	Rejected    int64            `bun:"rejected" json:"rejected" minimum:"0" example:"206" doc:"Rows with a fault."`
	Replaced    int64            `bun:"replaced" json:"replaced" minimum:"0" example:"0" doc:"Those of loaded that took a stored row's place."`
	Faults      map[string]int64 `bun:"faults,type:jsonb" json:"faults" example:"{\"missing_amount\":199,\"missing_date\":7}" doc:"Rejected rows by their first fault; the values add up to rejected."`
	TotalAmount money.Sum        `bun:"total_amount" json:"total_amount" doc:"The exact sum of the loaded rows' amounts."`
	Rules       json.RawMessage  `bun:"rules,type:jsonb" json:"rules" doc:"The source's rules under which the file was read."`
	CodeVersion string           `bun:"code_version" json:"code_version" example:"1.0.0" doc:"The program's version that read it."`
	StartedAt   time.Time        `bun:"started_at" json:"started_at" doc:"When its reading started."`
	FinishedAt  time.Time        `bun:"finished_at" json:"finished_at" doc:"When its reading ended."`
}

// Files are the files of a run, in the order in which they ended, from the one after
// the id given (0: from the first).
func (s *Store) Files(ctx context.Context, runID, after int64, limit int) (files []File, err error) {
	files = []File{} // JSON has no null for it
	return files, failed(s.selectFiles(runID, after, limit).Scan(ctx, &files), "the files of run %d", runID)
}

func (s *Store) selectFiles(runID, after int64, limit int) *bun.SelectQuery {
	return page(s.db.NewSelect().Model((*File)(nil)).ExcludeColumn("sha256").ColumnExpr("encode(sha256, 'hex') AS sha256").
		Where("run_id = ?", runID).Where("id > ?", after).OrderExpr("id"), limit)
}
