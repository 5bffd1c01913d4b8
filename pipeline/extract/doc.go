// Package extract reads a file of delimited text: from bytes to records.
//
//	file or object ─▶ decompressed ─▶ UTF-8 ─▶ delimiter, header ─▶ records
//
// Guarantees. A source is only read. Every byte of the text belongs to exactly one
// record, line end, empty line, line above the header, byte order mark before a record, or
// to the marker at its end. What a [Dialect] does not set is detected in a bounded part of
// the file, in the same way however its bytes come in. Memory does not grow with the file, nor with a
// record: one of more than [MaxRecord] bytes is a [Fault], as is whatever else keeps a
// record from being cut into cells, and costs that record only.
//
// Failure. What is wrong with a file as a whole is a [FileError], which reading it
// again does not change. Any other error is about an object store that is unavailable,
// or the caller's context.
package extract
