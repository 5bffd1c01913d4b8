package transform

import (
	"bytes"
	"encoding/binary"
	"unicode"
	"unicode/utf8"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/pipeline/extract"
)

// Places of the columns' cells in a record.
const (
	columnTransactionID = iota
	columnUserID
	columnAmount
	columnDate
)

// Columns are the columns that a file must have, as [extract.NewReader] wants them.
func Columns() []extract.Column {
	return []extract.Column{
		{Name: "transaction_id", Header: "transaction_id"},
		{Name: "user_id", Header: "user_id"},
		{Name: "amount", Header: "amount"},
		{Name: "transaction_date", Header: "transaction_date"},
	}
}

const maxID = 50 // characters of a transaction id

// Row is one row of a file, cleaned. The cells that have a fault are zero. Its slices
// are valid as long as the record that it was made of.
type Row struct {
	Line   int64 // physical line the row starts on; the header is line 1
	ID     []byte
	UserID int32
	Amount money.Amount
	Date   civil.Date

	// Ambiguous is the separator of a date that could be read in two ways, and
	// was read by the rule; else 0. Such a date stands unless the file turns
	// out to contradict the rule, see Cleaner.Contradicted.
	Ambiguous byte

	Faults Faults // why the row is to be rejected; empty for a valid row

	Raw       []byte // the row as it stands, without its line end, at most extract.MaxRaw bytes
	RawLength int64  // its full length in bytes
}

// Cleaner makes rows of records, and remembers what their dates tell of the order of
// month and day. It is not safe for concurrent use.
type Cleaner struct {
	conventions
	seen evidence
}

// NewCleaner cleans by the rules. Ambiguous dates with one of the contradicted separators
// are faults.
func NewCleaner(rules Rules, contradicted Separators) (*Cleaner, error) {
	c, err := rules.compile()
	c.contradicted = contradicted
	return &Cleaner{conventions: c}, err
}

// Contradicted are the separators of which ambiguous dates were read by a rule that other
// dates of the file contradict, as shows when all of its rows have been cleaned. Rows
// whose Ambiguous is one of them are then to be rejected as FaultAmbiguousDate.
func (c *Cleaner) Contradicted() (all Separators) {
	for i, r := range c.seen {
		if r.byRule > 0 && r.contradicts(c.orders[i]) {
			all |= 1 << i
		}
	}
	return all
}

// Clean makes a row of a record.
func (c *Cleaner) Clean(rec *extract.Record, row *Row) {
	row.Line, row.RawLength, row.Raw = rec.Line, rec.Length, rec.Raw()
	if rec.Fault != 0 {
		row.ID, row.UserID, row.Amount, row.Date, row.Ambiguous = nil, 0, money.Amount{}, 0, 0
		row.Faults = Faults(0).With(Fault(rec.Fault))
		return
	}
	var fault Fault
	row.ID, row.Faults = cleanID(rec.Cell(columnTransactionID))
	row.UserID, fault = parseUserID(rec.Cell(columnUserID))
	row.Faults = row.Faults.With(fault)
	row.Amount, fault = parseAmount(rec.Cell(columnAmount), c.decimal)
	row.Faults = row.Faults.With(fault)
	c.cleanDate(rec.Cell(columnDate), row)
}

func (c *Cleaner) cleanDate(cell []byte, row *Row) {
	d := c.parseDate(cell)
	row.Date, row.Ambiguous = d.date, 0
	if d.reading > readYearFirst {
		c.seen[separatorIndex(d.separator)].count(d.reading)
	}
	if d.reading == readByRule {
		row.Ambiguous = d.separator
		if c.contradicted.Has(d.separator) {
			row.Faults = row.Faults.With(FaultAmbiguousDate)
			row.Date = 0
		}
	}
	if d.fault != 0 {
		row.Faults = row.Faults.With(d.fault)
		row.Date = 0
	}
}

// cleanID is the id in a cell, or what is wrong with it.
func cleanID(id []byte) ([]byte, Faults) {
	if n := len(id); n == 0 || n > maxID || id[0] == ' ' || id[n-1] == ' ' || !printableASCII(id) {
		id = bytes.TrimSpace(id)
		if faults := checkID(id); faults != 0 {
			return nil, faults
		}
	}
	return id, 0
}

// checkID finds what is wrong with a trimmed transaction id.
func checkID(id []byte) Faults {
	var faults Faults
	if len(id) == 0 {
		return faults.With(FaultMissingTransactionID)
	}
	if len(id) > maxID && utf8.RuneCount(id) > maxID {
		faults = faults.With(FaultTransactionIDTooLong)
	}
	if bytes.ContainsFunc(id, unicode.IsControl) {
		faults = faults.With(FaultInvalidTransactionID)
	}
	return faults
}

// printableASCII looks at eight bytes at a time, the last ones twice if need be.
func printableASCII(b []byte) bool {
	if len(b) < 8 {
		for _, c := range b {
			if c < ' ' || c > '~' {
				return false
			}
		}
		return true
	}
	const each = 0x0101010101010101
	var odd uint64
	for i := 0; i < len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[min(i, len(b)-8):])
		// The top bit of each byte is set by a byte below 0x20, 0x7f, or above it.
		odd |= x - 0x20*each | x + each | x
	}
	return odd&(0x80*each) == 0
}

// parseUserID reads digits with a value from 1 to 2147483647.
func parseUserID(cell []byte) (int32, Fault) {
	if id := decimalDigits(cell); id != 0 && id <= 1<<31-1 {
		return int32(id), 0
	}
	cell = bytes.TrimSpace(cell)
	if len(cell) == 0 {
		return 0, FaultMissingUserID
	}
	unsigned := bytes.TrimPrefix(cell, []byte{'-'})
	if len(unsigned) == 0 || !onlyDigits(unsigned) {
		return 0, FaultInvalidUserID
	}
	significant := bytes.TrimLeft(unsigned, "0")
	id := decimalDigits(significant)
	if len(unsigned) != len(cell) || id < 1 || id > 1<<31-1 {
		return 0, FaultUserIDOutOfRange
	}
	return int32(id), 0
}

// decimalDigits is the value of 1 to 10 digits; 0 of anything else.
func decimalDigits(b []byte) uint64 {
	if len(b) > 10 {
		return 0
	}
	var n uint64
	for _, c := range b {
		d := c - '0'
		if d > 9 {
			return 0
		}
		n = n*10 + uint64(d)
	}
	return n
}
