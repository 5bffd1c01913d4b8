package ledger

import (
	"context"
	"errors"

	"github.com/uptrace/bun"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/internal/reject"
)

// ErrRejectNotFound reports that the ledger has no such reject.
var ErrRejectNotFound = errors.New("no such reject")

// ListedReject is a row that was not loaded by the load of its file, and what became of it
// since.
type ListedReject struct {
	bun.BaseModel `bun:"alias:listed"`

	ID            string      `bun:"id" json:"id" example:"3:42" doc:"File and line."`
	FileID        int64       `bun:"file_id" json:"file_id" minimum:"1" example:"3" doc:"The file that the row is in."`
	Path          string      `bun:"path" json:"path" example:"inbox/2024-01-31.csv" doc:"Where that was read."`
	Source        string      `bun:"source" json:"source" example:"inbox" doc:"The source that the file belongs to."`
	LogicalDate   civil.Date  `bun:"logical_date" json:"logical_date" doc:"The logical date of the run that read the file."`
	Line          int64       `bun:"line" json:"line" minimum:"1" example:"42" doc:"The line on which it starts; the header is line 1."`
	Outcome       string      `bun:"outcome" json:"outcome" enum:"rejected,duplicate,conflict,loaded" doc:"rejected: it has faults; duplicate: a stored row has its id and values; conflict: a stored row has its id and other values; loaded: it was loaded since."`
	State         string      `bun:"state" json:"state" enum:"open,replayed,fixed,settled,discarded" doc:"What became of it since the load of its file."`
	Faults        []string    `bun:"faults,array" json:"faults" nullable:"false" example:"[\"missing_amount\"]" doc:"The faults that its load found, the one that counts first."`
	TransactionID string      `bun:"transaction_id" json:"transaction_id,omitempty" example:"TXN186490" doc:"The row's id, where it could be read."`
	KeptFileID    int64       `bun:"kept_file_id" json:"kept_file_id,omitempty" example:"1" doc:"Of a duplicate or conflict: the file of the row that was kept."`
	KeptLine      int64       `bun:"kept_line" json:"kept_line,omitempty" example:"40" doc:"The kept row's line in that file."`
	Raw           string      `bun:"raw" json:"raw" example:"TXN186490,1633,,2024-01-31" doc:"The row as it stands in the file, at most its first 65536 bytes; bytes that are no text are shown as U+FFFD."`
	RawBytes      []byte      `bun:"raw_bytes" json:"raw_bytes,omitempty" doc:"The same to the byte, where raw cannot be."`
	RawLength     int64       `bun:"raw_length" json:"raw_length" minimum:"0" example:"26" doc:"Length of the row in the file, in bytes."`
	Hints         []string    `bun:"hints,array" json:"hints" nullable:"false" example:"[]" doc:"Settings that would resolve its faults, each with the cell in its readings."`
	Cell          *FaultyCell `bun:"-" json:"cell,omitempty" doc:"The cell that the first fault is about; omitted where it cannot be told."`
	Values        *RowValues  `bun:"-" json:"values,omitempty" doc:"The row's values under the settings of today; omitted where it has faults."`
	Stored        *StoredRow  `bun:"-" json:"stored,omitempty" doc:"Of a conflict: the stored row with its id."`

	LastChange int64  `bun:"last_change" json:"-"` // that gave it this state; 0: it is as its load left it
	FileStatus string `bun:"file_status" json:"-"`
	Reverted   bool   `bun:"reverted" json:"-"`
}

// FaultyCell is a cell with a fault.
type FaultyCell struct {
	Column string `json:"column" example:"amount" doc:"The required column."`
	Text   string `json:"text" example:"1,250" doc:"What the cell says."`
	Offset int    `json:"-"` // in the row's text, in bytes; -1 where that cannot be told
}

// RowValues are the values of a row.
type RowValues struct {
	TransactionID string     `bun:"transaction_id" json:"transaction_id" example:"TXN186490" doc:"The transaction's id."`
	UserID        int32      `bun:"user_id" json:"user_id" minimum:"1" example:"1633" doc:"The user's id."`
	Amount        money.Sum  `bun:"amount" json:"amount" doc:"The amount."`
	Date          civil.Date `bun:"transaction_date" json:"transaction_date" doc:"The day of the transaction."`
}

// StoredRow is a row of transactions.
type StoredRow struct {
	RowValues
	FileID int64  `bun:"file_id" json:"file_id" minimum:"0" example:"1" doc:"The file that it came with."`
	Path   string `bun:"path" json:"path" example:"inbox/2024-01-30.csv" doc:"Where that was read."`
	Line   int64  `bun:"line" json:"line" minimum:"0" example:"40" doc:"Its line in that file."`
}

// RejectFilter selects rejects of files that are loaded and were not reverted. Its zero value
// selects the open rejected rows and conflicts.
type RejectFilter struct {
	FileID  int64       // 0: of any file
	Fault   string      // one of its faults
	Source  string      // of its file
	Date    *civil.Date // the logical date of its file's run
	State   string      // "": open
	Outcome string      // ""; of open ones: rejected or conflict
	After   reject.ID   // in order of file and line; the zero value: from the first
	Limit   int
}

// FilteredRejects are the rejects that a filter selects, in order of file and line.
func (s *Store) FilteredRejects(ctx context.Context, f RejectFilter) ([]ListedReject, error) {
	return list[ListedReject](ctx, page(s.selectListed(f, f.Limit), f.Limit), "the rejects")
}

// RejectIDs are the ids of the rejects that a filter selects, in the same order, at most as
// many as its limit says.
func (s *Store) RejectIDs(ctx context.Context, f RejectFilter) ([]reject.ID, error) {
	return list[reject.ID](ctx, s.selectIDs(f), "the ids of the rejects")
}

func (s *Store) selectIDs(f RejectFilter) *bun.SelectQuery {
	return s.db.NewSelect().TableExpr("(?) AS listed", s.selectListed(f, f.Limit).Limit(int64(f.Limit))).Column("file_id", "line")
}

// RejectsByID are the rejects of these ids, whatever became of them and of their files. Ids
// that the ledger does not have are missing.
func (s *Store) RejectsByID(ctx context.Context, ids []reject.ID) ([]ListedReject, error) {
	return list[ListedReject](ctx, s.selectByID(ids), "rejects")
}

func (s *Store) selectByID(ids []reject.ID) *bun.SelectQuery {
	keys := make([]bun.TupleValues, len(ids))
	for i, id := range ids {
		keys[i] = bun.Tuple([]int64{id.FileID, id.Line})
	}
	return s.db.NewSelect().TableExpr("etl_rejects AS reject").
		Join("JOIN etl_files AS file ON file.id = reject.file_id").Join("JOIN etl_runs AS run ON run.id = file.run_id").
		Join("LEFT JOIN LATERAL (?) AS last ON true", s.lastState()).Apply(listedColumns).ColumnExpr("file.status AS file_status").
		ColumnExpr("EXISTS (SELECT FROM etl_reverts AS revert WHERE revert.file_id = file.id) AS reverted").
		Where("(reject.file_id, reject.line) IN (?)", bun.List(keys)).OrderExpr("reject.file_id, reject.line")
}

// lastState is the present state of a reject.
func (s *Store) lastState() *bun.SelectQuery {
	return s.db.NewSelect().TableExpr("etl_reject_states AS state").Column("state", "outcome", "change", "kept_file_id", "kept_line").
		Where("state.file_id = reject.file_id").Where("state.line = reject.line").OrderExpr("change DESC").Limit(1)
}

// listedColumns are the columns of a ListedReject, of a reject with its file, its run and
// its last state.
func listedColumns(q *bun.SelectQuery) *bun.SelectQuery {
	return q.ColumnExpr("reject.file_id || ':' || reject.line AS id, reject.file_id, file.path, file.source, run.logical_date, reject.line").
		ColumnExpr("coalesce(last.outcome, reject.outcome) AS outcome, coalesce(last.state, 'open') AS state, reject.faults, reject.transaction_id").
		ColumnExpr("coalesce(last.kept_file_id, reject.kept_file_id) AS kept_file_id, coalesce(last.kept_line, reject.kept_line) AS kept_line").
		ColumnExpr("reject.raw, reject.raw_bytes, reject.raw_length, reject.hints, last.change AS last_change")
}

// selectListed goes through the parts of files that have what is looked for, and into each by
// key: most rejects are closed one day, and are not to be read for each page.
func (s *Store) selectListed(f RejectFilter, limit int) *bun.SelectQuery {
	switch {
	case f.State != "" && f.State != reject.StateOpen:
		return s.selectClosed(f)
	case f.Outcome == reject.OutcomeDuplicate:
		return s.selectDuplicates(f, limit)
	}
	inPart := s.selectInFile(f, limit).Where("coalesce(last.state, 'open') = 'open'").
		Where("reject.line >= part.block << ?", reject.PartBits).Where("reject.line < (part.block + 1) << ?", reject.PartBits)
	if f.Outcome == "" {
		inPart = inPart.Where("coalesce(last.outcome, reject.outcome) <> 'duplicate'")
	}
	q := s.db.NewSelect().TableExpr("etl_open_rejects AS part").Join("JOIN etl_files AS file ON file.id = part.file_id").
		Where("(part.file_id, part.block) >= (?, ?)", f.After.FileID, f.After.Line>>reject.PartBits).
		OrderExpr("part.file_id, part.block, listed.line")
	if f.FileID != 0 {
		q = q.Where("part.file_id = ?", f.FileID)
	}
	return s.ofFiles(q, f, inPart)
}

// selectInFile are rejects of a file after a row.
func (s *Store) selectInFile(f RejectFilter, limit int) *bun.SelectQuery {
	q := s.db.NewSelect().TableExpr("etl_rejects AS reject").Join("LEFT JOIN LATERAL (?) AS last ON true", s.lastState()).
		Apply(listedColumns).Where("reject.file_id = file.id").
		Where("(reject.file_id, reject.line) > (?, ?)", f.After.FileID, f.After.Line).OrderExpr("reject.line").Limit(int64(limit))
	return f.ofRow(q)
}

// ofRow adds what is asked of a row.
func (f RejectFilter) ofRow(q *bun.SelectQuery) *bun.SelectQuery {
	if f.Fault != "" {
		q = q.Where("? = ANY(reject.faults)", f.Fault)
	}
	if f.Outcome != "" {
		q = q.Where("coalesce(last.outcome, reject.outcome) = ?", f.Outcome)
	}
	return q
}

// ofFiles adds what is asked of a file, and the rejects of each.
func (s *Store) ofFiles(q *bun.SelectQuery, f RejectFilter, inFile *bun.SelectQuery) *bun.SelectQuery {
	q = q.Join("JOIN etl_runs AS run ON run.id = file.run_id")
	if inFile != nil {
		q = q.Join("CROSS JOIN LATERAL (?) AS listed", inFile).ColumnExpr("listed.*")
	}
	if f.Source != "" {
		q = q.Where("file.source = ?", f.Source)
	}
	if f.Date != nil {
		q = q.Where("run.logical_date = ?", *f.Date)
	}
	return q
}

// selectDuplicates are the duplicates that the loads of their files found, and nothing
// became of.
func (s *Store) selectDuplicates(f RejectFilter, limit int) *bun.SelectQuery {
	q := s.db.NewSelect().TableExpr("etl_files AS file").Where("file.status = 'loaded' AND file.duplicate > 0").Where("file.id >= ?", f.After.FileID).
		Where("NOT EXISTS (SELECT FROM etl_reverts AS revert WHERE revert.file_id = file.id)").OrderExpr("file.id, listed.line")
	if f.FileID != 0 {
		q = q.Where("file.id = ?", f.FileID)
	}
	return s.ofFiles(q, f, s.selectInFile(f, limit).Where("coalesce(last.state, 'open') = 'open'"))
}

// selectClosed are rejects by a state that a commit gave them last.
func (s *Store) selectClosed(f RejectFilter) *bun.SelectQuery {
	q := s.db.NewSelect().TableExpr("etl_reject_states AS last").
		Join("JOIN etl_rejects AS reject ON reject.file_id = last.file_id AND reject.line = last.line").
		Join("JOIN etl_files AS file ON file.id = last.file_id").Apply(listedColumns).
		Where("last.state = ?", f.State).Where("last.state <> 'open'"). // which the index is for
		Where("(last.file_id, last.line) > (?, ?)", f.After.FileID, f.After.Line).
		Where("NOT EXISTS (SELECT FROM etl_reject_states AS later WHERE later.file_id = last.file_id AND later.line = last.line AND later.change > last.change)").
		Where("NOT EXISTS (SELECT FROM etl_reverts AS revert WHERE revert.file_id = last.file_id)").
		OrderExpr("last.file_id, last.line")
	if f.FileID != 0 {
		q = q.Where("last.file_id = ?", f.FileID)
	}
	return s.ofFiles(f.ofRow(q), f, nil)
}

// StoredRows are the stored rows of some transaction ids.
func (s *Store) StoredRows(ctx context.Context, ids []string) ([]StoredRow, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	return list[StoredRow](ctx, s.selectStored(ids), "stored rows")
}

func (s *Store) selectStored(ids []string) *bun.SelectQuery {
	keys := s.db.NewSelect().TableExpr("transaction_keys").Where("transaction_id IN (?)", bun.List(ids))
	rows := s.db.NewSelect().TableExpr("key").ColumnExpr("stored.*").
		Join("JOIN transactions AS stored ON stored.user_id = key.user_id AND stored.transaction_date = key.transaction_date AND stored.transaction_id = key.transaction_id")
	return s.db.NewSelect().With("key", keys).With("stored", rows).TableExpr("stored").
		Join("LEFT JOIN etl_files AS file ON file.id = stored.file_id").
		ColumnExpr("stored.transaction_id, stored.user_id, stored.amount::numeric AS amount, stored.transaction_date, stored.file_id, stored.line, coalesce(file.path, '') AS path")
}
