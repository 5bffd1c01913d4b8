package transform

import (
	"bytes"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/pipeline/extract"
)

// advised are the faults about which there may be advice.
const advised Faults = 1<<extract.FaultUnclosedQuote | 1<<extract.FaultBadQuote | 1<<extract.FaultInvalidUTF8 | 1<<FaultDamagedTransactionID |
	1<<FaultInvalidAmount | 1<<FaultAmbiguousAmount | 1<<FaultAmountOutOfRange | 1<<FaultInvalidSign | 1<<FaultOtherCurrency |
	1<<FaultInvalidDate | 1<<FaultAmbiguousDate | 1<<FaultDateOutOfWindow

// explain notes what would resolve a row's faults, where there is advice.
func (c *Cleaner) explain(rec *extract.Record, row *Row) {
	for fs := row.Faults & advised; fs != 0; fs &= fs - 1 {
		h := c.hintFor(fs.First(), rec)
		if h.Text == "" {
			continue
		}
		h.Fault = fs.First()
		row.Hints = append(row.Hints, h)
		addTo(&c.found.hints, Hint{Fault: h.Fault, Setting: h.Setting}, Seen{1, row.Line, h.Text})
	}
}

// hintFor is the advice about a fault; its text is blank where there is none.
func (c *Cleaner) hintFor(f Fault, rec *extract.Record) Hint {
	switch f {
	case Fault(extract.FaultUnclosedQuote), Fault(extract.FaultBadQuote):
		return Hint{Setting: "quote", Text: fmt.Sprintf("the quotes in %s do not enclose whole fields: if quotes are text in this file, set quote: none", quote(excerpt(rec.Raw())))}
	case Fault(extract.FaultInvalidUTF8):
		if c.encoding != "" {
			return Hint{Setting: "encoding", Text: "the row has bytes that are no characters of " + c.encoding}
		}
		raw := rec.Raw()
		name, text := extract.LikelyEncoding(raw[:min(len(raw), exampleLength)])
		return Hint{Setting: "encoding", Text: fmt.Sprintf("the row is not UTF-8: under encoding: %s it starts with %s", name, quote(text))}
	case FaultDamagedTransactionID:
		return damagedIDHint(rec.Cell(columnTransactionID))
	case FaultInvalidAmount:
		return c.invalidAmountHint(c.amountCell(rec, f))
	case FaultAmbiguousAmount:
		return c.ambiguousAmountHint(c.amountCell(rec, f))
	case FaultAmountOutOfRange:
		return c.rangeHint(c.amountCell(rec, 0))
	case FaultInvalidSign:
		return c.signHint(rec)
	case FaultOtherCurrency:
		return c.currencyHint(rec)
	case FaultInvalidDate:
		return c.invalidDateHint(rec.Cell(columnDate))
	case FaultAmbiguousDate:
		return c.ambiguousDateHint(rec.Cell(columnDate))
	case FaultDateOutOfWindow:
		return c.windowHint(rec.Cell(columnDate))
	default:
		return Hint{}
	}
}

// shown is a cell as a hint shows it: short, and without control characters.
func shown(cell []byte) string { return bare(excerpt(bytes.TrimSpace(cell))) }

func (c *Cleaner) ambiguousAmountHint(cell []byte) Hint {
	reading := func(ch Choice) string {
		return fmt.Sprintf("%s under decimal: %s", c.under(Decimal, ch).parseAmount(cell).amount, Decimal.Name(ch))
	}
	return Hint{Setting: Decimal.String(), Text: fmt.Sprintf("%s is %s and %s", shown(cell), reading(DecimalPoint), reading(DecimalComma))}
}

func (c *Cleaner) rangeHint(cell []byte) Hint {
	most := c.maxUnscaled[0]
	text := fmt.Sprintf("%s is outside -%d…%d, the amounts that are allowed", shown(cell), most, most)
	if most == MaxAmount {
		text = fmt.Sprintf("%s is outside -%d…%d, the amounts that every output can have", shown(cell), most, most)
	}
	return Hint{Setting: "max_amount", Text: text}
}

func (c *Cleaner) ambiguousDateHint(cell []byte) Hint {
	convention := c.parseDate(cell).convention
	reading := func(ch Choice) string {
		return fmt.Sprintf("%s under %s: %s", c.under(convention, ch).parseDate(cell).date, convention, convention.Name(ch))
	}
	return Hint{Setting: convention.String(), Text: fmt.Sprintf("%s is %s and %s", shown(cell), reading(MonthFirst), reading(DayFirst))}
}

func damagedIDHint(cell []byte) Hint {
	if isSpreadsheetError(tidy(cell, invisible)) {
		return Hint{Text: shown(cell) + " is an error that a spreadsheet has in place of the id: export the ids as text"}
	}
	return Hint{Text: shown(cell) + " is a number that a spreadsheet has rounded: export the ids as text"}
}

// invalidAmountHint knows numbers that are written as amounts are not.
func (c *Cleaner) invalidAmountHint(cell []byte) Hint {
	text := tidy(cell, invisibleInNumber)
	t, _ := dissectAmount(text)
	switch number := string(bytes.ToUpper(t.number)); {
	case c.hasSide(string(bytes.ToUpper(text))):
		return Hint{Setting: "columns.amount.sign", Text: shown(cell) + " has a marker of debit or credit: put the markers into a column of their own, " +
			"and name it, such as columns: {amount: {value: amount, sign: side, negative: [DR]}}"}
	case exponent.MatchString(number):
		return Hint{Text: shown(cell) + " has an exponent: export amounts with all their digits"}
	case number == "∞", strings.HasPrefix(number, "INF"):
		return Hint{Text: shown(cell) + " is not a finite number, which no amount can be"}
	default:
		return Hint{}
	}
}

// hasSide reports whether an amount has a marker of debit or credit before or after it.
func (c *Cleaner) hasSide(text string) bool {
	text = strings.TrimRight(text, ".")
	for _, side := range []string{"DR", "CR"} {
		rest, found := strings.CutSuffix(text, side)
		if !found {
			rest, found = strings.CutPrefix(text, side)
			rest = strings.TrimPrefix(rest, ".")
		}
		if f := c.parseAmount([]byte(rest)).fault; found && f != FaultInvalidAmount && f != FaultMissingAmount {
			return true
		}
	}
	return false
}

// exponent is a number that has one.
var exponent = regexp.MustCompile(`^[0-9.,]*[0-9][.,]?[eE][-+\x{2212}]?[0-9]+$`)

// signHint is about a marker, or a minus beside it.
func (c *Cleaner) signHint(rec *extract.Record) Hint {
	if c.amount == debitCredit {
		column, side := columnAmount, "negative"
		if c.amountIn(rec, column).amount.Unscaled >= 0 {
			column, side = columnSign, "positive"
		}
		if c.amountIn(rec, column).amount.Unscaled >= 0 {
			return Hint{}
		}
		return Hint{Text: fmt.Sprintf("%s has a minus, and amounts in its column are %s already: export debits and credits without signs", shown(rec.Cell(column)), side)}
	}
	marker := rec.Cell(columnSign)
	if _, known := c.signOf(marker); !known {
		return Hint{Setting: "columns.amount.negative", Text: fmt.Sprintf("the marker %s is not known: name it in negative or in positive of columns.amount", quote(excerpt(bytes.TrimSpace(marker))))}
	}
	return Hint{Setting: "columns.amount.sign", Text: fmt.Sprintf("%s has a minus beside the marker %s: without columns.amount.sign the minus counts", shown(rec.Cell(columnAmount)), shown(marker))}
}

func (c *Cleaner) currencyHint(rec *extract.Record) Hint {
	cell := c.amountCell(rec, 0)
	return Hint{Setting: c.against.Setting, Text: fmt.Sprintf("%s is marked with %s, and %s", shown(cell), shown(c.parseAmount(cell).mark), c.against.Text)}
}

// currencyClause says what the database's currency is, or which mark shows that. No setting
// changes the currency of amounts that are loaded.
func (r Reading) currencyClause() Hint {
	switch mark := r.Currencies.symbol(); {
	case r.Rules.Currency != "":
		return Hint{Setting: "currency", Text: "the database's currency is " + r.Rules.Currency}
	case mark != "":
		return Hint{Text: "amounts are loaded that are marked with " + mark}
	default:
		return Hint{Text: "amounts are loaded in " + strings.Join(r.Currencies, " or ")}
	}
}

func (c *Cleaner) windowHint(cell []byte) Hint {
	date := c.under(Slash, c.choices[Slash]).parseDate(cell).date
	switch {
	case date < c.from:
		return Hint{Setting: "from", Text: fmt.Sprintf("%s is before %s, the first date allowed", date, c.from)}
	case c.defaultWindow:
		return Hint{Setting: "to", Text: fmt.Sprintf("%s is after %s, by default a year after the logical date", date, c.to)}
	default:
		return Hint{Setting: "to", Text: fmt.Sprintf("%s is after %s, the last date allowed", date, c.to)}
	}
}

// invalidDateHint knows years of two digits, and numbers that stand for dates.
func (c *Cleaner) invalidDateHint(cell []byte) Hint {
	const century = 1970
	short := c.under(Slash, MonthFirst)
	short.choices, short.century = [conventionCount]Choice{MonthFirst, MonthFirst, MonthFirst}, century
	if d := short.parseDate(cell); d.fault == 0 {
		return shortYearHint(cell, d.date.Time().Year(), century)
	}
	const advice = ": export dates as text, such as 2024-11-07"
	text := string(inASCII(tidy(cell, invisibleInNumber)))
	if n := len(text); n == 12 || n == 14 {
		separated := text[:8] + "T" + text[8:]
		if d := short.parseDate([]byte(separated)); d.fault == 0 && d.date >= c.from && d.date <= c.to {
			return Hint{Text: fmt.Sprintf("%s may be %s with a time of day: separate them, such as %s, or export only the date", shown(cell), d.date, separated)}
		}
	}
	value, err := strconv.ParseFloat(strings.Replace(text, ",", ".", 1), 64)
	if err != nil || strings.Trim(text, "0123456789+-.,eE") != "" {
		return Hint{}
	}
	if value >= 10_000 && value < 100_000 {
		return Hint{Text: fmt.Sprintf("%s may be the serial number by which a spreadsheet knows %s%s", shown(cell), civil.Date(value)+serialZero, advice)}
	}
	if date, ok := unixDate(value); ok {
		return Hint{Text: fmt.Sprintf("%s may be the Unix time of %s in UTC%s", shown(cell), date, advice)}
	}
	return Hint{Text: shown(cell) + " is a number" + advice}
}

// serialZero is 1899-12-30, which spreadsheets count days from.
const serialZero civil.Date = -25569

// unixDate is the date of a Unix time in seconds, or their thousandths to billionths.
func unixDate(value float64) (civil.Date, bool) {
	for unit := 1.0; unit <= 1e9; unit *= 1000 {
		if seconds := value / unit; math.Abs(seconds) >= 1e8 && math.Abs(seconds) < 1e10 {
			return civil.Of(time.Unix(int64(math.Floor(seconds)), 0).UTC()), true
		}
	}
	return 0, false
}

// shortYearHint shows a year of two digits in two centuries.
func shortYearHint(cell []byte, year, century int) Hint {
	other := century - 70
	if year < 2000 {
		other = century + 30
	}
	return Hint{Setting: "two_digit_years", Text: fmt.Sprintf("the year of %s is %d under two_digit_years: %d and %d under two_digit_years: %d",
		shown(cell), year, century, inCentury(year%100, other), other)}
}
