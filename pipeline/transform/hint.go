package transform

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/pipeline/extract"
)

// advised are the faults about which there may be advice: most rejects lack a value, and
// cost nothing here.
const advised Faults = 1<<extract.FaultUnclosedQuote | 1<<extract.FaultBadQuote | 1<<extract.FaultInvalidUTF8 | 1<<FaultDamagedTransactionID |
	1<<FaultInvalidAmount | 1<<FaultAmbiguousAmount | 1<<FaultInvalidSign | 1<<FaultOtherCurrency |
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
		c.found.hint(h, row.Line)
	}
}

// hintFor is the advice about a fault; its text is blank where there is none.
func (c *Cleaner) hintFor(f Fault, rec *extract.Record) Hint {
	switch f {
	case Fault(extract.FaultUnclosedQuote), Fault(extract.FaultBadQuote):
		return Hint{Setting: "quote", Text: fmt.Sprintf("the quotes in %s do not enclose whole fields: if quotes are text in this file, set quote: none", quote(excerpt(rec.Raw())))}
	case Fault(extract.FaultInvalidUTF8):
		raw := rec.Raw()
		name, text := extract.LikelyEncoding(raw[:min(len(raw), exampleLength)])
		return Hint{Setting: "encoding", Text: fmt.Sprintf("the row is not UTF-8: under encoding: %s it starts with %s", name, quote(text))}
	case FaultDamagedTransactionID:
		return Hint{Text: shown(rec.Cell(columnTransactionID)) + " is a number that a spreadsheet has rounded: export the ids as text"}
	case FaultInvalidAmount:
		return invalidAmountHint(c.amountCell(rec, f))
	case FaultAmbiguousAmount:
		return c.ambiguousAmountHint(c.amountCell(rec, f))
	case FaultInvalidSign:
		return c.signHint(rec)
	case FaultOtherCurrency:
		return c.currencyHint(rec)
	case FaultInvalidDate:
		return invalidDateHint(rec.Cell(columnDate))
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

func (c *Cleaner) ambiguousDateHint(cell []byte) Hint {
	convention := c.parseDate(cell).convention
	reading := func(ch Choice) string {
		return fmt.Sprintf("%s under %s: %s", c.under(convention, ch).parseDate(cell).date, convention, convention.Name(ch))
	}
	return Hint{Setting: convention.String(), Text: fmt.Sprintf("%s is %s and %s", shown(cell), reading(MonthFirst), reading(DayFirst))}
}

// invalidAmountHint knows numbers that are written as amounts are not.
func invalidAmountHint(cell []byte) Hint {
	switch text := strings.ToUpper(string(tidy(cell, invisibleInNumber))); {
	case hasMarker(text, "DR") || hasMarker(text, "CR"):
		return Hint{Setting: "columns.amount.sign", Text: shown(cell) + " has a marker of debit or credit: put the markers into a column of their own, " +
			"and name it, such as columns: {amount: {value: amount, sign: side, negative: [DR]}}"}
	case hasExponent(text):
		return Hint{Text: shown(cell) + " has an exponent: export amounts with all their digits"}
	case strings.Trim(text, "+-\u2212$()") == "∞", strings.HasPrefix(strings.TrimLeft(text, "+-\u2212"), "INF"):
		return Hint{Text: shown(cell) + " is not a finite number, which no amount can be"}
	default:
		return Hint{}
	}
}

// hasMarker reports whether digits have a marker before or after them.
func hasMarker(text, marker string) bool {
	text = strings.TrimRight(text, ".")
	rest, found := strings.CutSuffix(text, marker)
	if !found {
		rest, found = strings.CutPrefix(text, marker)
	}
	return found && rest != "" && !strings.ContainsFunc(rest, func(r rune) bool { return r >= 'A' && r <= 'Z' })
}

// hasExponent reports whether a text in capitals is a number with an exponent.
func hasExponent(text string) bool {
	mantissa, exponent, found := strings.Cut(text, "E")
	return found && strings.ContainsAny(mantissa, "0123456789") && strings.Trim(mantissa, "+-\u2212$.,0123456789") == "" &&
		strings.Trim(exponent, "0123456789") != exponent && strings.Trim(exponent, "+-0123456789") == ""
}

// signHint is about a marker, or a minus beside it. Of amounts in both of two columns it
// says nothing: no setting resolves that.
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
	const few = 3
	known := strings.Join(c.currencies[:min(len(c.currencies), few)], ", ")
	if len(c.currencies) > few {
		known += ", …"
	}
	return Hint{Setting: "currency", Text: fmt.Sprintf("%s is marked with %s, and the database's currency is %s", shown(cell), shown(c.parseAmount(cell).mark), known)}
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
func invalidDateHint(cell []byte) Hint {
	text := withPlainSpaces(tidy(cell, invisibleInNumber))
	if date, _, ok := cutTime(text); ok {
		if t, ok := dissectDate(date); ok && t.shortYear {
			return shortYearHint(cell, t.year)
		}
	}
	const advice = ": export dates as text, such as 2024-11-07"
	whole, fraction, _ := bytes.Cut(text, []byte{'.'})
	if len(whole) == 0 || !onlyDigits(whole) || !onlyDigits(fraction) {
		return Hint{}
	}
	if len(whole) == 5 {
		return Hint{Text: fmt.Sprintf("%s may be the serial number by which a spreadsheet knows %s%s", shown(cell), civil.Date(number(whole))+serialZero, advice)}
	}
	if date, ok := unixDate(whole); ok {
		return Hint{Text: fmt.Sprintf("%s may be the Unix time of %s in UTC%s", shown(cell), date, advice)}
	}
	return Hint{Text: shown(cell) + " is a number" + advice}
}

// serialZero is 1899-12-30, which spreadsheets count days from.
const serialZero civil.Date = -25569

// unixDate is the date of a Unix time in seconds, or in a thousandth, a millionth or a
// billionth of one.
func unixDate(digits []byte) (civil.Date, bool) {
	n, err := strconv.ParseInt(string(digits), 10, 64)
	if err != nil || len(digits) < 9 || len(digits)%3 == 2 {
		return 0, false
	}
	for range (len(digits) - 9) / 3 {
		n /= 1000
	}
	const secondsPerDay = 24 * secondsPerHour
	return civil.Date(n / secondsPerDay), true
}

// shortYearHint shows a year of two digits in two centuries.
func shortYearHint(cell []byte, digits int) Hint {
	const usual = 1970
	other, year := usual-70, inCentury(digits, usual)
	if year < 2000 {
		other = usual + 30
	}
	return Hint{Setting: "two_digit_years", Text: fmt.Sprintf("the year of %s is %d under two_digit_years: %d and %d under two_digit_years: %d",
		shown(cell), year, usual, inCentury(digits, other), other)}
}
