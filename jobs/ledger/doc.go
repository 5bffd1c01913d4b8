// Package ledger has the runs, the files they read and the outcome of each row. Each table
// is declared once: a Bun model of its row, which is also the body of the API's answers
// and the source of their description.
//
// Guarantees. The ledger's records are append-only: PostgreSQL rejects an update, and a delete
// except by retention. Tables of a present state change: alerts and their messages, the
// schedule, observations and open rejects. A file's row commits with its transactions, its
// log lines before that, and an audit event with its subject. Times are in UTC. A list is read by key and bounded, so pages stay
// right while others write.
//
// Failure. Reading changes nothing and may be retried.
package ledger
