// Package ledger holds what ran, what was read and what became of it. Each table that
// people and programs read is one type here: a Bun model of its row, which is also the
// body that the API answers with and what its description is generated from.
//
// Guarantees. The ledger only grows: PostgreSQL refuses to change or delete its rows,
// whoever asks. A file's row appears in the commit of its transactions, its log lines
// before that, and an event of the audit trail in the commit of what it speaks of. Times
// are in UTC. A list is read in the order of its key and bounded, so a page stays right
// while others write.
//
// Failure. Reading changes nothing and may be tried again.
package ledger
