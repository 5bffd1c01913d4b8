package ledger

import (
	"errors"
	"fmt"
	"strings"

	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/reject"
)

// Errors of changes after the load.
var (
	// ErrFileNotFound reports that the ledger has no such file.
	ErrFileNotFound = errors.New("no such file")
	// ErrInvalidFix reports a value of a fix that cannot be read.
	ErrInvalidFix = errors.New("invalid value")
)

// Errors of retirements.
var (
	// ErrRetirementNotFound reports that the ledger has no such retirement.
	ErrRetirementNotFound = errors.New("no such retirement")
	// ErrRetiring reports that another retirement is not finished.
	ErrRetiring = errors.New("another retirement is not finished")
	// ErrNoExport reports that no target of exports is configured or named.
	ErrNoExport = errors.New("no export target is configured")
)

// NotOpenError reports that a reject or a file is not in the state that a change needs.
type NotOpenError struct {
	What string // such as "reject 3:42"
	Why  string // and the next step
}

func (e *NotOpenError) Error() string { return e.What + " " + e.Why }

// StillRejectedError reports the faults that a reject has by the settings of today.
type StillRejectedError struct {
	ID     reject.ID
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

// ReplayRequest asks to read open rejected rows again: those named, or without any those of
// a filter.
type ReplayRequest struct {
	IDs     []reject.ID
	Filter  RejectFilter
	DryRun  bool
	MaxRows int // 0: any number
	By      audit.By
}

// FixRequest asks to load a reject with values that a person has corrected; those that are
// empty are as an earlier fix, or else the row, has them.
type FixRequest struct {
	ID                                  reject.ID
	TransactionID, UserID, Amount, Date string
	By                                  audit.By
}

// RetireRequest asks the workers to retire months.
type RetireRequest struct {
	Before     civil.Month // all months before it
	KeepTotals bool        // in the rollups
	Export     bool        // to the configured target first
	KeepTables bool        // outside transactions; else the rows are dropped
	DryRun     bool
	By         audit.By
	Origin     string // a network address, for the audit trail
}

// RevertRequest asks to take loaded files back out: those named, and with a run those that
// it loaded and that were not reverted yet.
type RevertRequest struct {
	Files   []int64
	RunID   int64
	DryRun  bool
	MaxRows int // 0: any number
	By      audit.By
}
