package ledger

import (
	"context"

	"github.com/uptrace/bun"
)

// Reject is a row that was read and not loaded.
type Reject struct {
	bun.BaseModel `bun:"table:etl_rejects,alias:reject"`

	FileID        int64    `bun:"file_id" json:"file_id" minimum:"1" example:"3" doc:"The file that the row is in."`
	Line          int64    `bun:"line" json:"line" minimum:"1" example:"42" doc:"The line on which it starts; the header is line 1."`
	Outcome       string   `bun:"outcome" json:"outcome" enum:"rejected,duplicate,conflict" doc:"rejected: it has faults; duplicate: a stored row has its id and values; conflict: a stored row has its id and other values."`
	Faults        []string `bun:"faults,array" json:"faults" nullable:"false" example:"[\"missing_amount\"]" doc:"All its faults, the one that counts first; empty unless rejected."`
	TransactionID string   `bun:"transaction_id" json:"transaction_id,omitempty" example:"TXN186490" doc:"The row's id, where it could be read."`
	KeptFileID    int64    `bun:"kept_file_id" json:"kept_file_id,omitempty" example:"1" doc:"Of a duplicate or conflict: the file of the row that was kept."`
	KeptLine      int64    `bun:"kept_line" json:"kept_line,omitempty" example:"40" doc:"The kept row's line in that file."`
	Raw           string   `bun:"raw" json:"raw" example:"TXN186490,1633,,2024-01-31" doc:"The row as it stands in the file, at most its first 65536 bytes; bytes that are no text are shown as U+FFFD."`
	RawBytes      []byte   `bun:"raw_bytes" json:"raw_bytes,omitempty" doc:"The same to the byte, where raw cannot be."`
	RawLength     int64    `bun:"raw_length" json:"raw_length" minimum:"0" example:"26" doc:"Length of the row in the file, in bytes."`
}

// RejectQuery asks for a run's rows that were not loaded, in order of file and line,
// after a row.
type RejectQuery struct {
	RunID     int64
	Outcome   string // rejected, duplicate or conflict; "" means all
	AfterFile int64
	AfterLine int64
	Limit     int
}

// Rejects are the rows of a run's files that were not loaded.
func (s *Store) Rejects(ctx context.Context, q RejectQuery) (rejects []Reject, err error) {
	rejects = []Reject{} // JSON has no null for it
	return rejects, failed(s.selectRejects(q).Scan(ctx, &rejects), "the rejects of run %d", q.RunID)
}

// selectRejects goes from file to file of the run, and into each by key: a condition
// on the file's run alone would read the rejects of all files before them.
func (s *Store) selectRejects(q RejectQuery) *bun.SelectQuery {
	ofFile := page(s.db.NewSelect().Model((*Reject)(nil)).
		Where("file_id = file.id").Where("(file_id, line) > (?, ?)", q.AfterFile, q.AfterLine).OrderExpr("line"), q.Limit)
	if q.Outcome != "" {
		ofFile = ofFile.Where("outcome = ?", q.Outcome)
	}
	return page(s.db.NewSelect().TableExpr("etl_files AS file").Join("CROSS JOIN LATERAL (?) AS reject", ofFile).ColumnExpr("reject.*").
		Where("file.run_id = ?", q.RunID).Where("file.id >= ?", q.AfterFile).OrderExpr("file.id, reject.line"), q.Limit)
}
