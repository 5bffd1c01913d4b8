// Package pipeline takes a file of transactions from bytes to rows: extract,
// transform, load.
//
//	      Identify           cleaner, on all cores             load
//	file ───▶ sha256 ─▶ known? ─no─▶ valid rows ─▶ sorted by id ─▶ chosen ─▶ sorted by place ─▶ one commit
//	                      │              └─▶ faults ─▶ etl_rejects                                  │
//	                      └─yes─▶ unchanged                         failed (noted, nothing loaded) ◀┘
//
// Guarantees. A file counts once or not at all: its rows, their keys, the rollup
// deltas, the rejects and the ledger entry appear in one commit. A process that
// is killed, a connection that is lost or a disk that is full leave nothing
// behind. Content that is loaded already, under whatever name, is unchanged and
// does nothing. Every row is accounted for: read = loaded + duplicate + conflict
// + rejected, and each row not loaded is kept with its line, text and faults. A
// source file is only ever read. Memory does not grow with the file.
//
// A row is checked first and de-duplicated afterwards. In a file the first valid
// row of a transaction_id wins; against the database the stored row wins, unless
// the source says corrections: replace. The same values again are a duplicate,
// other values are a conflict.
//
// Failure. A file that cannot be read as transactions (see [FileError]) ends as
// failed, with its reason in the ledger; that is a result and not an error, and
// trying again without a change is pointless. An error of [Loader.Load] is about
// the database, an object store that is away or the caller's context; [Retryable]
// tells whether a retry may help, and a retry after a lost commit acknowledgement
// is safe, since the content is then known.
package pipeline
