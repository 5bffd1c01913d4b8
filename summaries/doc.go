// Package summaries owns the rollups of transactions, which [Rollups] declares. It refreshes,
// verifies and reads them: from the database ([Store]) and, for one user, from memory ([Cache]).
//
// Guarantees. A rollup equals a recomputation from transactions, digit for digit, at every
// moment that another connection can see: [Refresh] adds the difference of a load in the
// load's transaction. Amounts are added as PostgreSQL's numeric; transactions.amount is a
// float of at most 15 significant digits, for which amount::numeric is exact (PostgreSQL
// converts a float8 with 15 digits). A look-up is one read by primary key, whatever the size
// of transactions; one from memory is never older than a notification that was applied.
//
//	file ──load──▶ transactions ──┐
//	                              ├── one commit ──notification──▶ Cache
//	        changes ──Refresh──▶ rollups
//
// Failure. Refresh writes only in its caller's transaction, so a failed load leaves the
// rollups as they were. Without its connection for notifications a Cache answers from the
// database. [Verify] recomputes the rollups, the keys of transactions and the counts of the
// ledger in one snapshot, and reports each difference; it changes nothing. [Rebuild] stores what
// differs in one commit, or nothing; of a rollup that was lost as a whole, 10,000 rows a commit.
package summaries
