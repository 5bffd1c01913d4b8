package extract

import "unicode/utf8"

// Bounds on what is held in memory of a record.
const (
	MaxRecord = 1 << 20  // bytes of a record, or of a physical line, without its line end
	MaxRaw    = 64 << 10 // bytes of its text that are kept
)

// Fault is why a record cannot be cut into the header's columns. The zero value is no
// fault.
type Fault uint8

// The faults, in the order in which they count.
const (
	FaultUnclosedQuote Fault = iota + 1 // a quoted field does not end before the file does, or within MaxRecord
	FaultBadQuote                       // something other than a delimiter or a line end follows a closing quote
	FaultRowTooLong                     // a physical line of more than MaxRecord bytes
	FaultNulByte                        // a cell of a column that is used holds a NUL byte
	FaultInvalidUTF8                    // a cell of a column that is used is not UTF-8
	FaultTooFewFields                   // fewer fields than the header has, but for those without a name
	FaultTooManyFields                  // more fields than the header has, and not blank
	LastFault          = FaultTooManyFields
)

// String is the fault's name, such as "bad_quote"; "" for no fault.
func (f Fault) String() string {
	return [LastFault + 1]string{"", "unclosed_quote", "bad_quote", "row_too_long", "nul_byte", "invalid_utf8", "too_few_fields", "too_many_fields"}[f]
}

// Record is one row as it stands in the file. It, and what its methods return, is
// valid until the next one is read.
type Record struct {
	Line   int64 // physical line it starts on; the first of the file is line 1
	Length int64 // bytes in the file; more than its Raw where that is cut
	Fault  Fault // the cells mean nothing if there is one

	raw     []byte
	odd     bool // it may hold bytes other than ASCII, or NUL
	quote   byte // that encloses its fields
	fields  []span
	count   int    // of fields, which may be more than are kept
	place   []int  // of each required column
	scratch []byte // what quoted cells say
}

// span is a field's place within its record's raw bytes.
type span struct {
	lo, hi  int32
	escaped bool // quoted, and holds two quotes for one
}

// Cell is the content of the i-th required column, without its quotes and not
// trimmed.
func (rec *Record) Cell(i int) []byte {
	f := rec.fields[rec.place[i]]
	if !f.escaped {
		return rec.raw[f.lo:f.hi]
	}
	return rec.unescape(f)
}

// Offset is where a cell begins in the record's text; -1 if its text had to be unescaped.
func (rec *Record) Offset(cell []byte) int {
	at := cap(rec.raw) - cap(cell)
	if at < 0 || at+len(cell) > len(rec.raw) || len(cell) > 0 && &rec.raw[at] != &cell[0] {
		return -1
	}
	return at
}

// Raw is the record's text without its line end, at most MaxRaw bytes of it.
func (rec *Record) Raw() []byte {
	if len(rec.raw) <= MaxRaw {
		return rec.raw
	}
	return cutRaw(rec.raw)
}

// cutRaw keeps MaxRaw bytes of a longer text, and does not cut through a character.
func cutRaw(b []byte) []byte {
	n := MaxRaw
	for n > MaxRaw-utf8.UTFMax && !utf8.RuneStart(b[n]) {
		n--
	}
	return b[:n]
}
