// Package replica spreads reads over a database's streaming replicas.
//
// Guarantees. An answer of a [Set] is never older than the bound, than the commit that was
// announced last to this process when it was asked, or than the epoch that its caller has
// seen. Commits that change data are counted in summary_epoch, which replicates with them: a
// server's epoch, read around a statement, shows which commits its answer includes. What the
// epoch does not count, the bound covers by the position in the WAL: a replica is as fresh as
// the last look at the primary that it has replayed.
//
//	             ┌── look, 4 times a second ──▶ primary: epoch, WAL position ─▶ floor, marks
//	Set ─────────┤
//	             └── look, 4 times a second ──▶ replica: epoch, replayed position ─▶ who may answer
//
// Failure. A server that does not answer, or whose answer is too old, is passed over: another
// replica answers, then the primary. A [StaleError] says that no server could in time.
// Without a primary the replicas answer until the bound has passed since the last look at it.
// A replica that is promoted is the primary with its next look, whatever it is named as.
package replica
