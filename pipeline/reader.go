package pipeline

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"
)

// column is one of the four columns that a file must have.
type column uint8

const (
	columnTransactionID column = iota
	columnUserID
	columnAmount
	columnDate
	columns
)

// String is the column's name in a header.
func (c column) String() string {
	return [columns]string{"transaction_id", "user_id", "amount", "transaction_date"}[c]
}

const (
	maxID   = 50      // characters of a transaction id
	idBlock = 2 << 10 // bytes; more than any id of maxID characters has
)

// Row is one row of a file, cleaned. The cells that have a fault are zero.
type Row struct {
	Line          int64 // physical line the row starts on; the header is line 1
	TransactionID string
	UserID        int32
	Amount        money.Amount
	Date          civil.Date

	// Ambiguous is the separator of a date that could be read in two ways, and
	// was read by the rule; else 0. Such a date stands unless the file turns
	// out to contradict the rule, see Reader.Contradicted.
	Ambiguous byte

	Faults Faults // why the row is to be rejected; empty for a valid row

	Raw       []byte // the row as it stands, without its line end, at most MaxRaw bytes; valid until the next call
	RawLength int64  // its full length in bytes

	id []byte // TransactionID, valid as long as Raw is
}

// Reader reads the rows of a CSV file and cleans them. It holds little more
// than one row in memory, at most about 2 MiB, and allocates nothing but the
// transaction ids. It is not safe for concurrent use.
type Reader struct {
	scan   *scanner
	clean  cleaning
	record record
	names  []string
	place  [columns]int // of each required column

	structural       Fault // of the last row, whose cells mean nothing then
	slash, dash, dot evidence
	scratch          []byte
	ids              strings.Builder // the block that ids are cut from
}

// NewReader reads the header from r, which is decoded UTF-8 text such as a File
// gives. A header that will not do is a *FileError; other errors are those of r
// or of the rules.
func NewReader(r io.Reader, rules Rules) (*Reader, error) {
	clean, err := rules.compile()
	if err != nil {
		return nil, err
	}
	reader := &Reader{scan: newScanner(r), clean: clean}
	if err := reader.header(); err != nil {
		var bad *FileError
		if f, ok := r.(*File); ok && errors.As(err, &bad) {
			bad.Path = f.path
		}
		return nil, err
	}
	return reader, nil
}

// Next reads the next row into row. After the last one it returns io.EOF; other
// errors are those of the stream, and what they cut short is not a row.
func (r *Reader) Next(row *Row) error {
	if err := r.scan.next(&r.record); err != nil {
		return err
	}
	r.cleanRecord(&r.record, row)
	row.TransactionID = ""
	if len(row.id) > 0 {
		row.TransactionID = r.keepID(row.id)
	}
	return nil
}

// Contradicted tells, after io.EOF, whether dates with that separator which can
// be read in one order only contradict the rule in force for it. Rows whose
// Ambiguous is that separator are then to be rejected as FaultAmbiguousDate.
func (r *Reader) Contradicted(separator byte) bool {
	e := r.evidence(separator)
	return e != nil && e.contradicts(r.clean.order(separator))
}

// Columns are the names in the header, trimmed, in the file's order.
func (r *Reader) Columns() []string { return slices.Clone(r.names) }

// Delimiter is the byte between the file's fields.
func (r *Reader) Delimiter() byte { return r.scan.comma }

func (r *Reader) evidence(separator byte) *evidence {
	switch separator {
	case '/':
		return &r.slash
	case '-':
		return &r.dash
	case '.':
		return &r.dot
	default:
		return nil
	}
}

// cleanRecord makes a row of a record, all but the string of its id.
func (r *Reader) cleanRecord(rec *record, row *Row) {
	row.Line, row.RawLength = rec.line, rec.length
	row.Raw = cutRaw(rec.raw)
	fault := rec.fault
	if fault == 0 && rec.count != len(r.names) {
		fault = FaultTooManyFields
		if rec.count < len(r.names) {
			fault = FaultTooFewFields
		}
	}
	if r.structural = fault; fault != 0 {
		row.id, row.UserID, row.Amount, row.Date, row.Ambiguous = nil, 0, money.Amount{}, 0, 0
		row.Faults = Faults(0).With(fault)
		return
	}
	r.scratch = r.scratch[:0]
	row.Faults = 0
	r.cleanID(r.cell(rec, columnTransactionID), row)
	row.UserID, fault = parseUserID(r.cell(rec, columnUserID))
	row.Faults = row.Faults.With(fault)
	row.Amount, fault = parseAmount(r.cell(rec, columnAmount), r.clean.decimal)
	row.Faults = row.Faults.With(fault)
	r.cleanDate(r.cell(rec, columnDate), row)
}

// cell is a column's cell, not trimmed.
func (r *Reader) cell(rec *record, c column) []byte {
	f := rec.fields[r.place[c]]
	if !f.escaped {
		return rec.raw[f.lo:f.hi]
	}
	var cell []byte
	cell, r.scratch = rec.unescape(f, r.scratch)
	return cell
}

func (r *Reader) cleanDate(cell []byte, row *Row) {
	d := r.clean.parseDate(cell)
	row.Date, row.Ambiguous = d.date, 0
	row.Faults = row.Faults.With(d.fault)
	if d.fault != 0 {
		row.Date = 0
	}
	if d.reading > readYearFirst {
		r.evidence(d.separator).count(d.reading)
		if d.reading == readByRule {
			row.Ambiguous = d.separator
			if r.clean.refused.has(d.separator) {
				row.Faults = row.Faults.With(FaultAmbiguousDate)
				row.Date = 0
			}
		}
	}
}

func (r *Reader) cleanID(id []byte, row *Row) {
	if n := len(id); n == 0 || n > maxID || id[0] == ' ' || id[n-1] == ' ' || !printableASCII(id) {
		id = trimSpace(id)
		if row.Faults = checkID(id); row.Faults != 0 {
			row.id = nil
			return
		}
	}
	row.id = id
}

// keepID makes a string of an id. Strings share allocations of idBlock bytes: a
// single id that is kept for long holds on to so much, but keeping them all,
// which is what looking for duplicates takes, costs less than one by one.
func (r *Reader) keepID(id []byte) string {
	if r.ids.Cap()-r.ids.Len() < len(id) {
		r.ids.Reset()
		r.ids.Grow(idBlock)
	}
	from := r.ids.Len()
	r.ids.Write(id)
	return r.ids.String()[from:]
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
	if id := plainDigits(cell); id != 0 && id <= 1<<31-1 {
		return int32(id), 0
	}
	cell = trimSpace(cell)
	if len(cell) == 0 {
		return 0, FaultMissingUserID
	}
	unsigned := bytes.TrimPrefix(cell, []byte{'-'})
	if len(unsigned) == 0 || !onlyDigits(unsigned) {
		return 0, FaultInvalidUserID
	}
	significant := bytes.TrimLeft(unsigned, "0")
	id := plainDigits(significant)
	if len(unsigned) != len(cell) || id < 1 || id > 1<<31-1 {
		return 0, FaultUserIDOutOfRange
	}
	return int32(id), 0
}

// plainDigits is the value of 1 to 10 digits; 0 of anything else.
func plainDigits(b []byte) uint64 {
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

// header reads the file's first line that is not empty, and finds the columns.
func (r *Reader) header() error {
	if err := r.sniff(); err != nil {
		return err
	}
	if err := r.scan.next(&r.record); err != nil {
		return fmt.Errorf("read header: %w", err)
	}
	rec := &r.record
	if f := rec.fault; f != 0 && f != FaultNulByte && f != FaultInvalidUTF8 {
		return &FileError{Line: rec.line, Code: CodeBadHeader, Detail: "the header has the fault " + f.String(),
			Hint: "the first line must name the columns"}
	}
	r.names = make([]string, len(rec.fields))
	for i := range rec.fields {
		r.names[i] = rec.name(i)
	}
	r.scan.keep = len(r.names)
	return r.findColumns(rec)
}

// sniff sets the delimiter: the one under which the header has the most of the
// required columns, the comma where that leaves a choice.
func (r *Reader) sniff() error {
	s := r.scan
	s.keep = MaxRecord
	line, err := s.peekLine()
	if errors.Is(err, io.EOF) {
		return &FileError{Code: CodeEmptyFile, Detail: "there is no header line",
			Hint: "the first line must name the columns"}
	}
	if err != nil {
		return fmt.Errorf("read header: %w", err)
	}
	best := -1
	for _, comma := range []byte(",;\t|") {
		if n := countColumns(line, comma); n > best {
			best, s.comma = n, comma
		}
	}
	return nil
}

// countColumns counts the required columns in a header line split at comma.
func countColumns(line []byte, comma byte) int {
	s := scanner{comma: comma, keep: MaxRecord}
	rec := record{raw: line}
	s.splitQuoted(&rec, line) // a quoted line end in it is no matter
	var found [columns]bool
	n := 0
	for i := range rec.fields {
		if c := columnOf(rec.name(i)); c < columns && !found[c] {
			found[c] = true
			n++
		}
	}
	return n
}

// columnOf is the required column of that name, or columns.
func columnOf(name string) column {
	for c := range columns {
		if strings.EqualFold(name, c.String()) {
			return c
		}
	}
	return columns
}

func (r *Reader) findColumns(rec *record) error {
	if bytes.IndexByte(rec.raw, '\r') >= 0 {
		// The whole file may be one line to us: every row would be lost.
		return &FileError{Line: rec.line, Code: CodeBadHeader, Detail: "the header holds a CR that ends no line",
			Hint: "save the file with LF or CR LF line ends"}
	}
	var count [columns]int
	for i, name := range r.names {
		if c := columnOf(name); c < columns {
			r.place[c] = i
			count[c]++
		}
	}
	var missing, repeated []string
	for c := range columns {
		switch {
		case count[c] == 0:
			missing = append(missing, c.String())
		case count[c] > 1:
			repeated = append(repeated, c.String())
		}
	}
	if len(missing) > 0 {
		return r.missingColumns(rec, missing)
	}
	if len(repeated) > 0 {
		return &FileError{Line: rec.line, Column: strings.Join(repeated, ", "), Code: CodeRepeatedColumn,
			Detail: "the header names it more than once", Hint: "rename all but one"}
	}
	return nil
}

func (r *Reader) missingColumns(rec *record, missing []string) error {
	e := &FileError{Line: rec.line, Column: strings.Join(missing, ", "), Code: CodeMissingColumn,
		Detail: fmt.Sprintf("the header has %q", clip(strings.Join(r.names, string(r.scan.comma)), 200))}
	switch {
	case bytes.IndexByte(rec.raw, 0) >= 0:
		e.Hint = "the header holds NUL bytes: if the file is UTF-16 or UTF-32, save it as UTF-8, or as UTF-16 with a byte order mark"
	default:
		e.Hint = "the first line must name the columns transaction_id, user_id, amount and transaction_date"
	}
	return e
}

// clip shortens s to n bytes for a message.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
