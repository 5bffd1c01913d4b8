// Package load puts the rows of one file into transactions, in one commit.
//
//	identify ─▶ known? ─▶ read ─▶ decide ─▶ write ─▶ record ─▶ commit ─▶ loaded
//	    ▲         │        ▲ │     │ │
//	    │         │        │ └─┐   │ └─▶ unchanged (another load was first)
//	    │         │        ├───┘ other conventions hold: read again
//	    │         │        └───────┘ another load has proven one meanwhile
//	    │         └─▶ unchanged
//	    └── the file changed while it was read, at most three times
//
//	what is wrong with the file itself, in any state ─▶ fail ─▶ failed
//
// Guarantees. The rows, their keys, the rollups, the rejects and the ledger entry appear
// in one commit or not at all. Content that is loaded already, under whatever name, is
// skipped, unless it would now be read in another way. Rows are de-duplicated after they
// were checked: in a file the first valid row of a transaction_id is accepted, and a
// stored row is kept, unless the source says corrections: replace. The same values again
// are a duplicate, other values are a conflict. An id whose key has lost its row is
// rejected as orphan_key.
//
// Failure. A file that cannot be read as transactions (see [extract.FileError]) ends as
// failed, with its reason in the ledger; that is a result and not an error, and trying
// again without a change is pointless. An error of [Loader.Load] is about the database,
// an object store that is unavailable or the caller's context; [postgres.Retryable] reports
// whether a retry may help, and a retry after a lost commit acknowledgement is safe,
// since the content is then known. [ErrChanged] says that the file is not of the version that
// was chosen; then nothing of it is loaded or recorded.
package load
