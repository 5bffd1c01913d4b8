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
// A value such as 1/2/2024 or 1.250 is read by the conventions that hold for its file,
// which its other values may prove: what they show is known when all of it has been read,
// see [Cleaner.Findings] and [Rules.Resolve]. A file is therefore read by likely
// conventions first, and a second time if others hold and that makes a difference.
// [Check] profiles a file so, without a database.
package transform
