package pipeline

import (
	"math/bits"
	"strconv"
	"strings"
)

// Fault is one reason why a row is rejected. The constants are in the order in
// which faults count: a row with several is counted under the lowest. The zero
// value is no fault.
type Fault uint8

// Faults of a whole row come first; a row with one of them has no other, since
// its cells cannot be trusted. Then come those of its cells.
const (
	FaultUnclosedQuote        Fault = iota + 1 // a quoted field does not end before the file does, or within MaxRecord
	FaultBadQuote                              // something other than a delimiter or a line end follows a closing quote
	FaultRowTooLong                            // a physical line of more than MaxRecord bytes
	FaultNulByte                               // the row holds a NUL byte
	FaultInvalidUTF8                           // the row is not UTF-8
	FaultTooFewFields                          // fewer fields than the header has
	FaultTooManyFields                         // more fields than the header has
	FaultMissingTransactionID                  // blank
	FaultTransactionIDTooLong                  // more than 50 characters
	FaultInvalidTransactionID                  // holds control characters
	FaultMissingUserID                         // blank
	FaultInvalidUserID                         // not an integer
	FaultUserIDOutOfRange                      // an integer outside 1…2147483647
	FaultMissingAmount                         // blank
	FaultInvalidAmount                         // no known form of an amount
	FaultAmbiguousAmount                       // could be read in two ways, such as 1,234
	FaultAmountPrecision                       // more than 15 digits or 4 decimals
	FaultMissingDate                           // blank
	FaultInvalidDate                           // no known form of a date
	FaultImpossibleDate                        // a date that is in no calendar, such as 2024-02-30
	FaultAmbiguousDate                         // could be read in two ways, and the file contradicts the rule that would decide
	FaultDateOutOfWindow                       // outside the source's window of dates
	faultEnd
)

// String is the fault's name as it stands in the ledger, such as
// "missing_amount"; "" for no fault.
func (f Fault) String() string {
	switch f {
	case 0:
		return ""
	case FaultUnclosedQuote:
		return "unclosed_quote"
	case FaultBadQuote:
		return "bad_quote"
	case FaultRowTooLong:
		return "row_too_long"
	case FaultNulByte:
		return "nul_byte"
	case FaultInvalidUTF8:
		return "invalid_utf8"
	case FaultTooFewFields:
		return "too_few_fields"
	case FaultTooManyFields:
		return "too_many_fields"
	default:
		return f.cellName()
	}
}

func (f Fault) cellName() string {
	switch f {
	case FaultMissingTransactionID:
		return "missing_transaction_id"
	case FaultTransactionIDTooLong:
		return "transaction_id_too_long"
	case FaultInvalidTransactionID:
		return "invalid_transaction_id"
	case FaultMissingUserID:
		return "missing_user_id"
	case FaultInvalidUserID:
		return "invalid_user_id"
	case FaultUserIDOutOfRange:
		return "user_id_out_of_range"
	case FaultMissingAmount:
		return "missing_amount"
	case FaultInvalidAmount:
		return "invalid_amount"
	case FaultAmbiguousAmount:
		return "ambiguous_amount"
	case FaultAmountPrecision:
		return "amount_precision"
	case FaultMissingDate:
		return "missing_date"
	case FaultInvalidDate:
		return "invalid_date"
	case FaultImpossibleDate:
		return "impossible_date"
	case FaultAmbiguousDate:
		return "ambiguous_date"
	case FaultDateOutOfWindow:
		return "date_out_of_window"
	default:
		return "fault_" + strconv.Itoa(int(f))
	}
}

// Faults is a set of faults; its zero value is empty, which is a valid row.
type Faults uint32

// Has tells whether f is in the set.
func (fs Faults) Has(f Fault) bool { return f != 0 && fs&(1<<f) != 0 }

// With is the set with f added. Adding no fault changes nothing.
func (fs Faults) With(f Fault) Faults {
	if f == 0 {
		return fs
	}
	return fs | 1<<f
}

// First is the fault that the row counts under: the lowest, or none.
func (fs Faults) First() Fault {
	if fs == 0 {
		return 0
	}
	return Fault(bits.TrailingZeros32(uint32(fs)))
}

// Strings names the faults in the order in which they count; empty, never nil.
func (fs Faults) Strings() []string {
	names := make([]string, 0, bits.OnesCount32(uint32(fs)))
	for ; fs != 0; fs &= fs - 1 {
		names = append(names, fs.First().String())
	}
	return names
}

// Codes of a FileError.
const (
	CodeNotFound       = "not_found"       // there is no such file
	CodeUnreadable     = "unreadable"      // it cannot be opened or read, or is no regular file
	CodeEmptyFile      = "empty_file"      // it has no header line
	CodeBadHeader      = "bad_header"      // its header line cannot be split into names
	CodeMissingColumn  = "missing_column"  // its header lacks a required column
	CodeRepeatedColumn = "repeated_column" // its header has a required column twice
	CodeTruncated      = "truncated"       // its compressed content is cut short
	CodeCorrupt        = "corrupt"         // its compressed content is damaged
	CodeFileChanged    = "file_changed"    // it changed while it was read
	CodeRejectLimit    = "reject_limit"    // more of its rows are faulty than its source allows
)

// FileError is why a whole file fails, whatever its rows. It is a fact about
// the file: reading it again does not help until someone has mended it.
type FileError struct {
	Path   string // the file, if known
	Line   int64  // the line at fault, 0: none in particular
	Column string // the columns at fault, if any
	Code   string // one of the Code constants
	Detail string // what was found
	Hint   string // what to do about it
	Err    error  // the cause, if another error was one
}

// Error is one line: path, place, code, detail, cause and hint.
func (e *FileError) Error() string {
	var b strings.Builder
	if e.Path != "" {
		b.WriteString(e.Path + ": ")
	}
	if e.Line > 0 {
		b.WriteString("line " + strconv.FormatInt(e.Line, 10) + ": ")
	}
	b.WriteString(e.Code)
	if e.Column != "" {
		b.WriteString(" " + e.Column)
	}
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	if e.Hint != "" {
		b.WriteString(" (" + e.Hint + ")")
	}
	return b.String()
}

// Unwrap is the cause, if another error was one.
func (e *FileError) Unwrap() error { return e.Err }
