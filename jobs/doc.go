// Package jobs decides what is run and when, has River carry it out, and keeps the ledger
// of what was done.
//
// Guarantees. The ledger in PostgreSQL is the truth, River carries it out:
//
//   - Each logical date, a day that ended in the configured time zone, has one run,
//     however many processes there are. The schedule is a watermark in the database: a
//     midnight that was missed, or whose commit failed, is decided at the next tick, by
//     the catch-up policy. A process whose clock is ahead of the database's decides nothing.
//   - A run and its River job commit together.
//   - The runs of a source go in the order of their dates, whatever the number of workers:
//     a run leaves out a source that an unfinished run of an earlier date has not read.
//   - Only the last attempt at a run can commit: starting an attempt locks the run, and
//     the loader checks under the same lock, in the commit of the rows, that its attempt
//     is still the last.
//   - Runs, attempts, outcomes, files and log lines are in append-only tables that River's
//     cleaner does not touch; only log lines past their retention are removed. They are
//     written outside the load's transaction.
//
// A run's status is that of its last attempt:
//
//	                    ┌──────────── a worker, or a run in the ◀──────────┐
//	                    ▼             foreground, continues                │
//	due ──attempt──▶ running ──▶ succeeded                                 │
//	                    │                                                  │
//	                    ├──────▶ failed        bad files, or a bug:        │
//	                    │                      retried on request only     │
//	                    ├──────▶ retrying      database or object store    │
//	                    │                      unavailable, a file set     │
//	                    │                      aside (500 times at most),  │
//	                    │                      or a source waits for an    │
//	                    │                      earlier date: back-off ─────┤
//	                    ├──────▶ interrupted   process stopped: at once ───┤
//	                    └─ ─ ─ ▶ lost          crashed; recorded by the ───┘
//	                                           next attempt
//
// Crashes. An attempt holds a session's advisory lock on its run while its process lives.
// After kill -9 PostgreSQL rolls the load back and releases the lock, and
// [Service.Reconcile], which every worker calls every 20 s, requeues the run: River would
// keep its job as running until its timeout. Files that are loaded are unchanged, the
// interrupted one is loaded. A worker that only lost its connection is fenced and gives
// up. A manual run, whose paths may exist on one machine only, is never requeued.
//
// Trouble. A file that meets an error of the server or of temporary files (see
// postgres.Trouble), or a panic, is set aside, which etl_troubles records, and the others are loaded. In
// its third such attempt it fails, if the error can be its own doing: others of its kind
// succeed. Where the trouble cannot be recorded, the server is unavailable, and the attempt
// ends. A file or run that was given up is no known failure: the next run tries it again.
// After a crash each file is recorded before it is tried, so a file at which the process crashes
// again and again fails in the sixth attempt; a run that crashes elsewhere fails after a hundred.
//
// A retirement of months that was requested ([Service.RequestRetirement]) commits with its job, and its
// outcome with the months, so it happens once. An orphaned one is requeued, too.
//
// While the database is unavailable nothing is decided and nothing is lost: schedule and
// workers retry, log lines wait in a bounded buffer. A session's lock needs a session: no
// pooler in transaction mode may be between Tally and PostgreSQL.
package jobs
