package transform

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/pipeline/extract"
)

const proposedFrom = 100 // rows that columns are recognized by

// Propose proposes settings under which a file can be read, and profiles it under them. It
// maps columns that the header lacks by their names and contents, and names the likely
// encoding. What only the sender knows, such as the order of ambiguous dates, stays open.
func Propose(ctx context.Context, stores *bucket.Stores, location bucket.Location, r Reading) (Rules, *Profile, error) {
	profile, err := Check(ctx, stores, location, r.Rules, r.LogicalDate)
	bad, ok := errors.AsType[*extract.FileError](err)
	if ok && (bad.Code == extract.CodeMissingColumn || bad.Code == extract.CodeBadHeader) {
		if err := mapColumns(ctx, stores, location, &r.Rules); err != nil {
			return r.Rules, nil, errors.Join(bad, err)
		}
		profile, err = Check(ctx, stores, location, r.Rules, r.LogicalDate)
	}
	if err != nil || r.Rules.Encoding != "" {
		return r.Rules, profile, err
	}
	if i := slices.IndexFunc(profile.Faults, func(f FaultCount) bool { return f.Fault == Fault(extract.FaultInvalidUTF8).String() }); i >= 0 {
		r.Rules.Encoding, _ = extract.LikelyEncoding([]byte(profile.Faults[i].Example))
		profile, err = Check(ctx, stores, location, r.Rules, r.LogicalDate)
	}
	return r.Rules, profile, err
}

// mapColumns finds the columns of a file by its first rows.
func mapColumns(ctx context.Context, stores *bucket.Stores, location bucket.Location, rules *Rules) error {
	f, err := extract.Open(ctx, stores, location, rules.Dialect)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it was only read
	rows, err := extract.Sample(f, rules.Dialect, proposedFrom)
	if err != nil {
		return err
	}
	header, columns := candidates(rows)
	taken := map[int]bool{}
	take := func(fits func(c *candidate) int) string {
		best, score := -1, 0
		for i := range columns {
			if s := fits(&columns[i]); !taken[i] && s > score {
				best, score = i, s
			}
		}
		if best < 0 {
			return ""
		}
		taken[best] = true
		if header == nil {
			return strconv.Itoa(best + 1)
		}
		return header[best]
	}
	// The clearest contents come first.
	c := &rules.Columns
	c.TransactionDate = take((*candidate).asDate)
	if debit, credit, ok := debitAndCredit(columns); ok {
		c.Amount = AmountColumns{Debit: header[debit], Credit: header[credit]}
		taken[debit], taken[credit] = true, true
	} else {
		c.Amount.Value = take((*candidate).asAmount)
	}
	c.TransactionID = take((*candidate).asTransactionID)
	c.UserID = take((*candidate).asUserID)
	if header == nil {
		rules.Header = extract.HeaderNone
	}
	for name, column := range map[string]string{"transaction_date": c.TransactionDate, "amount": c.Amount.Value + c.Amount.Debit, "transaction_id": c.TransactionID, "user_id": c.UserID} {
		if column == "" {
			return fmt.Errorf("no column of the file looks like %s: name it with --columns", name)
		}
	}
	return nil
}

// candidate counts the kinds of cells in a column.
type candidate struct {
	name                         string // in the header, in lower case; "" without one
	cells, dates, amounts, users int
	marked                       int // amounts with decimals, a sign or a mark
	distinct                     map[string]bool
	filled                       []bool // by row
}

// candidates describe the columns of a sample, of which the first row may be the header:
// one without anything that reads as a date or an amount.
func candidates(rows [][]string) (header []string, columns []candidate) {
	width, start := 0, 0
	for i, row := range rows {
		if len(row) > width { // rows above the header are narrower than the table
			width, start = len(row), i
		}
	}
	rows = rows[start:]
	reader := parser{choices: [...]Choice{MonthFirst, MonthFirst, MonthFirst, DecimalPoint}}
	reader.to = 1 << 30
	if len(rows) > 0 && !slices.ContainsFunc(rows[0], func(cell string) bool {
		return reader.parseAmount([]byte(cell)).fault == 0 || reader.parseDate([]byte(cell)).fault == 0
	}) {
		header, rows = rows[0], rows[1:]
	}
	columns = make([]candidate, width)
	for i := range columns {
		c := &columns[i]
		c.distinct = map[string]bool{}
		if i < len(header) {
			c.name = strings.ToLower(header[i])
		}
		for _, row := range rows {
			filled := i < len(row) && strings.TrimSpace(row[i]) != "" && !isDash([]byte(row[i]))
			if c.filled = append(c.filled, filled); filled {
				c.add(&reader, row[i])
			}
		}
	}
	return header, columns
}

func (c *candidate) add(reader *parser, cell string) {
	c.cells++
	c.distinct[cell] = true
	if f := reader.parseDate([]byte(cell)).fault; f == 0 || f == FaultImpossibleDate {
		c.dates++
	}
	if a := reader.parseAmount([]byte(cell)); a.fault == 0 || a.fault == FaultAmountPrecision {
		c.amounts++
		if a.mark != nil || a.shows != showsNothing || a.amount.Unscaled < 0 {
			c.marked++
		}
	}
	if _, f := parseUserID([]byte(cell)); f == 0 {
		c.users++
	}
}

// named is a bonus for a name that has one of some words in it.
func (c *candidate) named(words ...string) int {
	for i, word := range words {
		if strings.Contains(c.name, word) {
			return 200 - i
		}
	}
	return 0
}

// share is what part of the cells are something, in hundredths; 0 if it is not most.
func (c *candidate) share(of int) int {
	if c.cells == 0 || 100*of < 80*c.cells {
		return 0
	}
	return 100 * of / c.cells
}

// debitAndCredit are two columns of amounts of which each row fills one, and whose names
// say which is which.
func debitAndCredit(columns []candidate) (debit, credit int, ok bool) {
	for i := range columns {
		for j := range columns {
			d, c := &columns[i], &columns[j]
			named := d.named("debit", "soll", "withdraw", "paid out", "debe", "cargo") > 0 &&
				c.named("credit", "haben", "deposit", "paid in", "haber", "abono") > 0
			if named && d.share(d.amounts) > 0 && c.share(c.amounts) > 0 && d.alternates(c) {
				return i, j, true
			}
		}
	}
	return 0, 0, false
}

// alternates reports whether each row fills one of two columns.
func (c *candidate) alternates(other *candidate) bool {
	return slices.EqualFunc(c.filled, other.filled, func(a, b bool) bool { return a != b })
}

// score is what cells of a kind count for, if most cells are of it, and a bonus for the name.
func (c *candidate) score(of, points int, words ...string) int {
	if c.share(of) == 0 {
		return 0
	}
	return points + c.named(words...)
}

func (c *candidate) asDate() int {
	return c.score(c.dates, c.share(c.dates), "transaction_date", "transaction date", "date", "datum", "fecha", "buchung", "booked", "time")
}

func (c *candidate) asAmount() int {
	return c.score(c.amounts, 1+100*c.marked/max(c.cells, 1), "amount", "betrag", "umsatz", "importe", "montant", "importo", "bedrag", "value", "sum", "total")
}

func (c *candidate) asUserID() int {
	return c.score(c.users, c.share(c.users), "user", "customer", "client", "kunde", "account", "member", "konto")
}

func (c *candidate) asTransactionID() int {
	if len(c.distinct) < c.cells {
		return 0
	}
	return c.score(c.cells, 1, "transaction_id", "transaction id", "transaction", "reference", "ref", "id", "number", "nummer", "nr", "no")
}
