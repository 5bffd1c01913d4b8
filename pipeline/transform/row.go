package transform

import (
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/pipeline/extract"
)

// Row is one row of a file, cleaned. The cells that have a fault are zero. Its slices
// are valid as long as the record that it was made of.
type Row struct {
	Line   int64 // physical line the row starts on; the file's first is line 1
	ID     []byte
	UserID int32
	Amount money.Amount
	Date   civil.Date

	Faults Faults // why the row is to be rejected; empty for a valid row
	Hints  []Hint // which settings would resolve them; of a valid row none

	Raw       []byte // the row as it stands, without its line end, at most extract.MaxRaw bytes
	RawLength int64  // its full length in bytes
}

// Reading is how a file is read.
type Reading struct {
	Rules       Rules
	LogicalDate civil.Date // of the run: by default dates end a year after it; 0: they do not
	Conventions Conventions
	Currencies  Currencies // that the database's can be; nil: any
}

// parser reads cells.
type parser struct {
	compiled
	choices [conventionCount]Choice
}

// under is a parser that reads the ambiguous values of a convention by a choice.
func (p parser) under(c Convention, ch Choice) *parser {
	p.choices[c] = ch
	return &p
}

// Cleaner makes rows of records, and remembers what they show of the file. It is not safe
// for concurrent use.
type Cleaner struct {
	parser
	currencies Currencies
	marks      []markSeen
	found      Findings
}

// NewCleaner cleans a file's records. Its error is that of the rules.
func NewCleaner(r Reading) (*Cleaner, error) {
	rules, err := r.Rules.compile(r.LogicalDate)
	c := &Cleaner{parser: parser{compiled: rules}, currencies: r.Currencies}
	for i, decision := range r.Conventions {
		c.choices[i] = decision.Choice
	}
	return c, err
}

// another is a cleaner of the same file that has seen nothing.
func (c *Cleaner) another() *Cleaner {
	return &Cleaner{parser: c.parser, currencies: c.currencies}
}

// Findings are what the rows so far have shown of the file.
func (c *Cleaner) Findings() *Findings {
	for i := range c.marks {
		c.found.addMark(c.marks[i].mark, c.marks[i].seen)
		c.marks[i].seen = Seen{}
	}
	return &c.found
}

// takeFindings are the findings since it was last called.
func (c *Cleaner) takeFindings() Findings {
	found := *c.Findings()
	c.found = Findings{}
	return found
}

// Clean makes a row of a record.
func (c *Cleaner) Clean(rec *extract.Record, row *Row) {
	row.Line, row.RawLength, row.Raw, row.Hints = rec.Line, rec.Length, rec.Raw(), row.Hints[:0]
	if rec.Fault != 0 {
		row.ID, row.UserID, row.Amount, row.Date = nil, 0, money.Amount{}, 0
		row.Faults = Faults(0).With(Fault(rec.Fault))
		c.explain(rec, row)
		return
	}
	row.ID, row.Faults = cleanID(rec.Cell(columnTransactionID))
	var fault Fault
	row.UserID, fault = parseUserID(rec.Cell(columnUserID))
	amount := c.cleanAmount(rec)
	cell := rec.Cell(columnDate)
	date := c.parseDate(cell)
	if date.shows != showsNothing {
		c.found.Evidence.note(date.convention, date.shows, row.Line, cell)
	}
	row.Amount, row.Date = amount.amount, date.date
	row.Faults = row.Faults.With(fault).With(amount.fault).With(date.fault)
	if row.Faults != 0 {
		c.explain(rec, row)
		return
	}
	c.found.Negative = c.found.Negative || row.Amount.Unscaled < 0
	if amount.mark != nil {
		c.noteMark(rec, amount.mark)
	}
}
