// Package summaries owns the rollups of transactions, which [Rollups] declares.
//
// Guarantees. A rollup equals a recomputation from transactions, digit for
// digit, at every moment that another connection can see: [Refresh] moves it by
// the difference that a load makes, in the transaction of the load. Amounts are
// added as decimals by PostgreSQL's numeric; transactions.amount is a float of
// at most 15 significant digits, for which amount::numeric is exact (PostgreSQL
// converts a float8 at FLT_DIG/DBL_DIG precision, which is 15 digits). A look-up
// is one read by primary key, whatever the size of transactions.
//
//	file ──load──▶ transactions ──┐
//	                              ├── one commit
//	        changes ──Refresh──▶ rollups
//
// Failure. Refresh writes nothing outside its caller's transaction, so a load
// that dies leaves the rollups as they were. [Verify] recomputes everything in
// one snapshot and reports each difference; it changes nothing.
package summaries
