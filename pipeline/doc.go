// Package pipeline takes a file of transactions from bytes to rows, in three stages; each
// depends only on those before it.
//
//	        extract                    transform                       load
//	file ─▶ bytes, text, records ─▶ rows ─┬▶ sorted ─▶ decided ─▶ transactions ─┐
//	                                      └▶ faults ──────────▶ etl_rejects ────┼▶ one commit
//	                                                            rollups, ledger ┘
//
// [github.com/opentax/tally/pipeline/parquet] exports what is stored. This package has
// what spans the stages: a [Source] says where files are and how they are to be read,
// [Progress] how far a load or an export has come.
//
// Guarantees. A file counts once or not at all: its rows, their keys, the rollup
// deltas, the rejects and the ledger entry appear in one commit. A process that
// is killed, a connection that is lost or a disk that is full leave nothing
// behind. Every row is accounted for: read = loaded + duplicate + conflict
// + rejected, and each row not loaded is kept with its line, text and faults. A
// source file is only ever read. Memory does not grow with the file.
//
// The states of a file, and what is tried again, are those of
// [github.com/opentax/tally/pipeline/load].
package pipeline
