package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/opentax/tally/internal/money"
)

// SourceManual is the source of paths that are given by hand and that no other source covers.
const SourceManual = "manual"

// File is a file that was read, with the outcome of its rows: read = loaded + duplicate +
// conflict + rejected.
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
	Reading     int              `bun:"reading" json:"reading" format:"int32" minimum:"1" example:"2" doc:"The version of the program's rules for reading a value."`
	Conventions json.RawMessage  `bun:"conventions,type:jsonb" json:"conventions" doc:"By convention (slash, dash, dot, decimal): what held for the file, where that came from, and what its values show."`
	Hints       []string         `bun:"hints,array" json:"hints" nullable:"false" example:"[\"slash: 3 rows with ambiguous_date, first line 2: 03/04/2024 is 2024-03-04 under slash: mdy and 2024-04-03 under slash: dmy\"]" doc:"Settings that would resolve faults of its rows."`
	Warnings    []string         `bun:"warnings,array" json:"warnings" nullable:"false" example:"[]" doc:"What is odd about the file although it was loaded."`
	StartedAt   time.Time        `bun:"started_at" json:"started_at" doc:"When its reading started."`
	FinishedAt  time.Time        `bun:"finished_at" json:"finished_at" doc:"When its reading ended."`
}

// Files are the files of a run in the order of their end, after the given one (0: from
// the first).
func (s *Store) Files(ctx context.Context, runID, after int64, limit int) ([]File, error) {
	return list[File](ctx, s.selectFiles(runID, after, limit), "the files of run %d", runID)
}

func (s *Store) selectFiles(runID, after int64, limit int) *bun.SelectQuery {
	return page(s.db.NewSelect().Model((*File)(nil)).ExcludeColumn("sha256").ColumnExpr("encode(sha256, 'hex') AS sha256").
		Where("run_id = ?", runID).Where("id > ?", after).OrderExpr("id"), limit)
}

// File is one file, or [ErrFileNotFound].
func (s *Store) File(ctx context.Context, id int64) (File, error) {
	files, err := list[File](ctx, s.selectFile(id), "file %d", id)
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("file %d: %w", id, ErrFileNotFound)
	}
	if err != nil {
		return File{}, err
	}
	return files[0], nil
}

func (s *Store) selectFile(id int64) *bun.SelectQuery {
	return s.db.NewSelect().Model((*File)(nil)).ExcludeColumn("sha256").ColumnExpr("encode(sha256, 'hex') AS sha256").Where("id = ?", id)
}

// FilesByID are the ids, runs, sources and paths of files, by id, as far as the ledger has them.
func (s *Store) FilesByID(ctx context.Context, ids []int64) (map[int64]File, error) {
	files, err := list[File](ctx, s.selectFilesByID(ids), "files")
	byID := map[int64]File{}
	for _, f := range files {
		byID[f.ID] = f
	}
	return byID, err
}

func (s *Store) selectFilesByID(ids []int64) *bun.SelectQuery {
	return s.db.NewSelect().Model((*File)(nil)).Column("id", "run_id", "source", "path").Where("id IN (?)", bun.List(ids))
}

// RevertibleFiles are the files that a run loaded and that were not reverted.
func (s *Store) RevertibleFiles(ctx context.Context, runID int64) ([]int64, error) {
	return list[int64](ctx, s.selectRevertible(runID), "the loaded files of run %d", runID)
}

func (s *Store) selectRevertible(runID int64) *bun.SelectQuery {
	return s.db.NewSelect().Model((*File)(nil)).Column("id").Where("run_id = ?", runID).Where("status = 'loaded'").
		Where("NOT EXISTS (SELECT FROM etl_reverts AS revert WHERE revert.file_id = file.id)").OrderExpr("id")
}

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
	Hints         []string `bun:"hints,array" json:"hints" nullable:"false" example:"[]" doc:"Settings that would resolve its faults, each with the cell in its readings."`
	RawLength     int64    `bun:"raw_length" json:"raw_length" minimum:"0" example:"26" doc:"Length of the row in the file, in bytes."`
}

// RejectQuery selects a run's rejects after a row, in order of file and line.
type RejectQuery struct {
	RunID     int64
	Outcome   string // rejected, duplicate or conflict; "" means all
	AfterFile int64
	AfterLine int64
	Limit     int
}

// Rejects are the rows of a run's files that were not loaded.
func (s *Store) Rejects(ctx context.Context, q RejectQuery) ([]Reject, error) {
	return list[Reject](ctx, s.selectRejects(q), "the rejects of run %d", q.RunID)
}

// selectRejects goes through the files of the run, and into each by key: a condition on the
// file's run only would read the rejects of all files before them.
func (s *Store) selectRejects(q RejectQuery) *bun.SelectQuery {
	ofFile := page(s.db.NewSelect().Model((*Reject)(nil)).
		Where("file_id = file.id").Where("(file_id, line) > (?, ?)", q.AfterFile, q.AfterLine).OrderExpr("line"), q.Limit)
	if q.Outcome != "" {
		ofFile = ofFile.Where("outcome = ?", q.Outcome)
	}
	return page(s.db.NewSelect().TableExpr("etl_files AS file").Join("CROSS JOIN LATERAL (?) AS reject", ofFile).ColumnExpr("reject.*").
		Where("file.run_id = ?", q.RunID).Where("file.id >= ?", q.AfterFile).OrderExpr("file.id, reject.line"), q.Limit)
}

// Reverted are the files of a run that were taken back out.
func (s *Store) Reverted(ctx context.Context, runID int64) (map[int64]bool, error) {
	files, err := list[int64](ctx, s.selectReverted(runID), "the reverted files of run %d", runID)
	reverted := map[int64]bool{}
	for _, id := range files {
		reverted[id] = true
	}
	return reverted, err
}

func (s *Store) selectReverted(runID int64) *bun.SelectQuery {
	return s.db.NewSelect().TableExpr("etl_files AS file").ColumnExpr("file.id").Join("JOIN etl_reverts AS revert ON revert.file_id = file.id").
		Where("file.run_id = ?", runID)
}
