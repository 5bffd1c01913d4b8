// Package reject has the names of what becomes of rows after the load of their file, for the code that
// changes them and for the ledger, the API and the command line, which show them.
package reject

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/opentax/tally/internal/money"
)

// States of a reject.
const (
	StateOpen      = "open"
	StateReplayed  = "replayed"
	StateFixed     = "fixed"
	StateSettled   = "settled"
	StateDiscarded = "discarded"
)

// Outcomes of a row: loaded, or why it is not.
const (
	OutcomeLoaded    = "loaded"
	OutcomeRejected  = "rejected"
	OutcomeDuplicate = "duplicate"
	OutcomeConflict  = "conflict"
)

// PartBits is the size of a part of a file in etl_open_rejects: 2^PartBits lines.
const PartBits = 12

// ID names a row that was not loaded: its file in the ledger and its line.
type ID struct {
	FileID int64 `bun:"file_id"`
	Line   int64 `bun:"line"`
}

// String has the form FILE:LINE.
func (id ID) String() string { return fmt.Sprintf("%d:%d", id.FileID, id.Line) }

// ParseID reads FILE:LINE.
func ParseID(text string) (id ID, err error) {
	file, line, _ := strings.Cut(text, ":")
	id.FileID, err = strconv.ParseInt(file, 10, 64)
	if err == nil {
		id.Line, err = strconv.ParseInt(line, 10, 64)
	}
	if err != nil || id.FileID < 1 || id.Line < 1 || id.String() != text {
		return ID{}, fmt.Errorf("%q is no id of a reject: want FILE:LINE, as tally rejects prints it", text)
	}
	return id, nil
}

// ReplayResult is what became of rejects that were read again: read = loaded + duplicate +
// conflict + rejected.
type ReplayResult struct {
	Read      int64    `json:"read" minimum:"0" example:"206" doc:"Open rejected rows that were read again."`
	Loaded    int64    `json:"loaded" minimum:"0" example:"199" doc:"Those that are loaded now."`
	Duplicate int64    `json:"duplicate" minimum:"0" example:"2" doc:"Those that repeat a stored row, with the same values."`
	Conflict  int64    `json:"conflict" minimum:"0" example:"1" doc:"Those with the id of a stored row, and other values; they stay open."`
	Rejected  int64    `json:"rejected" minimum:"0" example:"4" doc:"Those that still have a fault; they stay open."`
	Warnings  []string `json:"warnings" nullable:"false" example:"[]" doc:"Rejects that could not be read again, and why."`
}

// RevertResult is what taking files back out changes.
type RevertResult struct {
	Rows        int64     `json:"rows" minimum:"0" example:"784" doc:"Rows taken out."`
	Restored    int64     `json:"restored" minimum:"0" example:"0" doc:"Rows that had been replaced by them, and are stored again."`
	Replayed    int64     `json:"replayed" minimum:"0" example:"0" doc:"Rows of other files that had lost against them, and are loaded now."`
	Users       int64     `json:"users" minimum:"0" example:"97" doc:"Users whose rows were taken out."`
	TotalAmount money.Sum `json:"total_amount" doc:"The exact sum of the rows taken out."`
	Change      money.Sum `json:"change" doc:"By how much the exact sum of all transactions changes."`
	Warnings    []string  `json:"warnings" nullable:"false" example:"[]" doc:"Rows that could not be read again, and why."`
}

// RetireResult is what retiring months changes.
type RetireResult struct {
	Months      []RetiredMonth `json:"months" nullable:"false" doc:"The months, oldest first."`
	Rows        int64          `json:"rows" minimum:"0" example:"784" doc:"Rows taken out."`
	TotalAmount money.Sum      `json:"total_amount" doc:"The exact sum of the rows taken out."`
}

// RetiredMonth is a month that was retired.
type RetiredMonth struct {
	Month       string    `json:"month" example:"2020-01" doc:"The month."`
	Rows        int64     `json:"rows" minimum:"0" example:"784" doc:"Its rows."`
	TotalAmount money.Sum `json:"total_amount" doc:"Their exact sum."`
	KeptTable   string    `json:"kept_table,omitempty" example:"transactions_2020_01" doc:"The table that has them."`
	Exported    string    `json:"exported,omitempty" example:"transactions/month=2020-01-01/part-0.parquet" doc:"The file of the export that has them, relative to its target."`
}
