// Package transform makes rows of records, or faults: transaction ids, user ids, amounts
// and dates as [Rules] say that a source writes them.
//
//	records ─▶ Cleaner, on all cores ─▶ valid rows
//	                                └─▶ rows with Faults
//
// Guarantees. A value is read if it has one reading under the rules; otherwise the row
// is rejected with each of its faults. Amounts are exact. What comes out is in the
// file's order, whatever the number of cores.
//
// An ambiguous date is read by the rule for its separator. Whether the file itself
// contradicts the rule is known when all of it has been read, see
// [Cleaner.Contradicted]. [Check] profiles a file so, without a database.
package transform
