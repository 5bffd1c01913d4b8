package transform

import (
	"math"

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

// under is a parser that reads the ambiguous values of a convention by a choice, whatever
// the window of dates.
func (p parser) under(c Convention, ch Choice) *parser {
	p.choices[c], p.from, p.to = ch, math.MinInt32, math.MaxInt32
	return &p
}

// Cleaner makes rows of records, and remembers what they show of the file. It is not safe
// for concurrent use.
type Cleaner struct {
	parser
	currencies Currencies
	against    Hint // of an amount of another currency, as far as it does not depend on it
	marks      []*markSeen
	dollar     *markSeen // one of them, so that the fast path need not look for it
	found      Findings
}

// NewCleaner cleans a file's records. Its error is that of the rules.
func NewCleaner(r Reading) (*Cleaner, error) {
	rules, err := r.Rules.compile(r.LogicalDate)
	c := &Cleaner{parser: parser{compiled: rules}, currencies: r.Currencies, against: r.currencyClause()}
	for i, decision := range r.Conventions {
		c.choices[i] = decision.Choice
	}
	return c.another(), err
}

// another is a cleaner of the same file that has seen nothing.
func (c *Cleaner) another() *Cleaner {
	c = &Cleaner{parser: c.parser, currencies: c.currencies, against: c.against}
	c.dollar = c.markSeen([]byte{'$'})
	return c
}

// Findings are what the rows so far have shown of the file.
func (c *Cleaner) Findings() *Findings {
	for _, m := range c.marks {
		if m.seen.Cells > 0 {
			addTo(&c.found.Marks, m.mark, m.seen)
		}
		m.seen = Seen{}
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
	row.Line, row.RawLength, row.Raw = rec.Line, rec.Length, rec.Raw()
	if len(row.Hints) > 0 {
		row.Hints = row.Hints[:0]
	}
	if rec.Fault != 0 {
		row.ID, row.UserID, row.Amount, row.Date = nil, 0, money.Amount{}, 0
		row.Faults = Faults(0).With(Fault(rec.Fault))
		c.explain(rec, row)
		return
	}
	row.ID, row.Faults = cleanID(rec.Cell(columnTransactionID))
	var fault Fault
	row.UserID, fault = parseUserID(rec.Cell(columnUserID))
	row.Faults = row.Faults.With(fault)
	mark := c.cleanAmount(rec, row)
	c.cleanDate(rec, row)
	if row.Faults != 0 {
		c.explain(rec, row)
		return
	}
	c.found.Negative = c.found.Negative || row.Amount.Unscaled < 0
	if mark != nil {
		c.noteMark(rec, mark)
	}
}

func (c *Cleaner) cleanDate(rec *extract.Record, row *Row) {
	cell := rec.Cell(columnDate)
	d := c.parseDate(cell)
	c.found.Evidence.note(d.convention, d.shows, row.Line, cell)
	row.Date, row.Faults = d.date, row.Faults.With(d.fault)
}
