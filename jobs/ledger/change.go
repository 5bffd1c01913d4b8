package ledger

import (
	"errors"
	"fmt"
	"strings"

	"github.com/opentax/tally/internal/money"
)

// Errors of changes after the load.
var (
	// ErrFileNotFound reports that the ledger has no such file.
	ErrFileNotFound = errors.New("no such file")
	// ErrInvalidFix reports a value of a fix that cannot be read.
	ErrInvalidFix = errors.New("invalid value")
)

// NotOpenError reports that a reject or a file is not in the state that a change needs.
type NotOpenError struct {
	What string // such as "reject 3:42"
	Why  string // and the next step
}

func (e *NotOpenError) Error() string { return e.What + " " + e.Why }

// StillRejectedError reports the faults that a reject has by the settings of today.
type StillRejectedError struct {
	ID     RejectID
	Faults []string
}

func (e *StillRejectedError) Error() string {
	return fmt.Sprintf("reject %s still has the faults %s: tally fix corrects the values", e.ID, strings.Join(e.Faults, ", "))
}

// TooManyError reports that a change is larger than a request may be.
type TooManyError struct{ Max int }

func (e *TooManyError) Error() string {
	return fmt.Sprintf("more than %d rows: use the command line, or a narrower filter", e.Max)
}

// By says who changes loaded data, and why, for the audit chain.
type By struct{ Actor, Reason string }

// ReplayRequest asks to read open rejected rows again: those named, or without any those of
// a filter.
type ReplayRequest struct {
	IDs     []RejectID
	Filter  RejectFilter
	DryRun  bool
	MaxRows int // 0: any number
	By      By
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

// FixRequest asks to load a reject with values that a person has corrected; those that are
// empty are as an earlier fix, or else the row, has them.
type FixRequest struct {
	ID                                  RejectID
	TransactionID, UserID, Amount, Date string
	By                                  By
}

// RevertRequest asks to take loaded files back out: those named, and with a run those that
// it loaded and that were not reverted yet.
type RevertRequest struct {
	Files   []int64
	RunID   int64
	DryRun  bool
	MaxRows int // 0: any number
	By      By
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
