// Package jobs decides what is to be run and when, has River carry it out, and
// keeps the ledger of what was done.
//
// Guarantees. The ledger in PostgreSQL is the truth and River its carrier:
//
//   - Each logical date, the day that has just ended in the configured time zone,
//     has one run, however many processes there are. The schedule is a watermark
//     in the database; a midnight at which nobody was there, or at which the
//     database refused, is decided at the next tick, at most 20 s after somebody
//     is there again, by the catch-up policy. What the policy passes over is
//     written to the audit trail.
//   - A run and its River job appear in one commit, or neither does.
//   - Of the attempts at a run only the last may commit: starting one locks the
//     run, and the loader looks under the same lock, in the commit of the rows,
//     whether its attempt still is the last.
//   - Runs, attempts, outcomes, files and log lines are in tables that only grow
//     and that River's cleaner does not know. Log lines are written while the run
//     goes on, outside the load's transaction.
//
// A run's state is that of its last attempt:
//
//	                    ┌──────────── a worker, or somebody, takes it up ◀─┐
//	                    ▼                                                  │
//	due ──attempt──▶ running ──▶ succeeded                                 │
//	                    │                                                  │
//	                    ├──────▶ failed        bad files, or a bug: tried  │
//	                    │                      again only when asked       │
//	                    ├──────▶ retrying      database or object store    │
//	                    │                      away: back-off ─────────────┤
//	                    ├──────▶ interrupted   interrupted: at once ──────┤
//	                    └─ ─ ─ ▶ lost          killed; noted by the next ──┘
//
// Crashes. An attempt holds a session's advisory lock on its run for as long as
// its process lives. After kill -9 PostgreSQL rolls the load back and lets go of
// the lock; River would hold the job for running until its timeout, so
// [Service.Reconcile], which every worker calls every 20 s, gives the run a new
// job. The attempt is then noted as lost and the next one begins: files that are
// loaded are unchanged, the one that was being loaded is loaded. The old job
// finds the run over when River rescues it at last, and does nothing. A worker
// that was only cut off from the database is fenced when it comes back, and gives
// way.
//
// A run by hand, of paths that may exist on one machine alone, is never taken
// over; when its process is killed it is noted as lost, to be run again by hand.
// [Service.Enqueue] gives such a run to the workers, which all have to reach its
// paths.
// A run that an operator cancels in River UI fails; one that is retried there
// gets another attempt.
//
// While the database is away nothing is decided, and nothing is lost: schedule
// and workers go on trying, log lines wait in a bounded buffer.
//
// A session's lock needs a session: between Tally and PostgreSQL there may be no
// pooler in transaction mode.
package jobs
