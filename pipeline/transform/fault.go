package transform

import (
	"math/bits"
	"strconv"

	"github.com/opentax/tally/pipeline/extract"
)

// Fault is one reason why a row is rejected, or 0. A row with several is counted under the
// lowest.
type Fault uint8

// Faults of a whole record come first, with extract's numbers; a row with one has no other,
// since its cells cannot be trusted.
const (
	FaultMissingTransactionID Fault = Fault(extract.LastFault) + 1 + iota // blank
	FaultTransactionIDTooLong                                             // more than 50 characters
	FaultInvalidTransactionID                                             // holds control characters
	FaultDamagedTransactionID                                             // a number that a spreadsheet has rounded, or its error
	FaultMissingUserID                                                    // blank
	FaultInvalidUserID                                                    // not an integer
	FaultUserIDOutOfRange                                                 // an integer outside 1…2147483647
	FaultMissingAmount                                                    // blank
	FaultInvalidAmount                                                    // no known form of an amount
	FaultAmbiguousAmount                                                  // could be read in two ways, such as 1,234, and it is not known which holds
	FaultAmountPrecision                                                  // more than 15 digits or 4 decimals
	FaultAmountOutOfRange                                                 // larger than the source's max_amount, of either sign
	FaultInvalidSign                                                      // a sign marker that is not known, or two signs
	FaultOtherCurrency                                                    // marked with another currency than the database's
	FaultMissingDate                                                      // blank
	FaultInvalidDate                                                      // no known form of a date
	FaultImpossibleDate                                                   // a date that is in no calendar, such as 2024-02-30
	FaultAmbiguousDate                                                    // could be read in two ways, and it is not known which holds
	FaultDateOutOfWindow                                                  // outside the source's window of dates
	FaultOrphanKey                                                        // transaction_keys has the id, and transactions no row of it; a load finds it
	FaultRetiredMonth                                                     // the month of the date is retired; a load finds it
	LastFault                 = FaultRetiredMonth
)

// String is the name in the ledger, such as "missing_amount"; "" for no fault.
func (f Fault) String() string {
	switch {
	case f <= Fault(extract.LastFault):
		return extract.Fault(f).String()
	case f > LastFault:
		return "fault_" + strconv.Itoa(int(f))
	}
	return [...]string{
		"missing_transaction_id", "transaction_id_too_long", "invalid_transaction_id", "damaged_transaction_id",
		"missing_user_id", "invalid_user_id", "user_id_out_of_range",
		"missing_amount", "invalid_amount", "ambiguous_amount", "amount_precision", "amount_out_of_range", "invalid_sign", "other_currency",
		"missing_date", "invalid_date", "impossible_date", "ambiguous_date", "date_out_of_window",
		"orphan_key", "retired_month",
	}[f-FaultMissingTransactionID]
}

// Faults is a set of faults; its zero value is empty, which is a valid row.
type Faults uint32

// Has reports whether f is in the set.
func (fs Faults) Has(f Fault) bool { return f != 0 && fs&(1<<f) != 0 }

// With is the set with f added. Adding no fault changes nothing.
func (fs Faults) With(f Fault) Faults {
	if f == 0 {
		return fs
	}
	return fs | 1<<f
}

// conventional are the faults that a row may have under one convention and not under another.
const conventional Faults = 1<<FaultAmbiguousAmount | 1<<FaultAmountOutOfRange | 1<<FaultAmbiguousDate | 1<<FaultDateOutOfWindow

// Final reports whether the row is rejected whichever conventions hold.
func (fs Faults) Final() bool { return fs&^conventional != 0 }

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
