package transform

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/pipeline/extract"
)

// CodeMixedCurrencies is the code of a file of several currencies while none is known.
const CodeMixedCurrencies = "mixed_currencies"

// Currencies are what a currency can be, as sorted codes of ISO 4217; nil is any.
type Currencies []string

// CurrenciesOf are those that a mark stands for: USD and US$ for one, $ for many. A
// currency symbol that is not known stands for itself.
func CurrenciesOf(mark string) Currencies {
	if known := symbolCurrencies([]byte(mark)); known != nil {
		return known
	}
	return Currencies{strings.ToUpper(mark)}
}

// symbol is one that stands for just these currencies, if they are several; "": there is none.
func (c Currencies) symbol() string {
	if len(c) < 2 {
		return ""
	}
	for line := range strings.Lines(symbolText) {
		for _, mark := range strings.Fields(line)[1:] {
			if slices.Equal(c, CurrenciesOf(mark)) {
				return mark
			}
		}
	}
	return ""
}

// with are the currencies that both have; empty: none is left.
func (c Currencies) with(others Currencies) Currencies {
	if c == nil {
		return others
	}
	return slices.DeleteFunc(slices.Clone(c), func(code string) bool { return !slices.Contains(others, code) })
}

// Narrow is what is left of the currencies that the database's can be, after a file whose
// valid rows have these marks. Marks that leave none are an error about the file.
func (c Currencies) Narrow(marks map[string]Seen) (Currencies, error) {
	list := slices.SortedFunc(maps.Keys(marks), func(a, b string) int {
		return cmp.Or(cmp.Compare(marks[a].Line, marks[b].Line), cmp.Compare(a, b))
	})
	left := c
	for _, mark := range list {
		left = left.with(CurrenciesOf(mark))
	}
	if left == nil || len(left) > 0 {
		return left, nil
	}
	for i, mark := range list {
		list[i] = fmt.Sprintf("%q (line %d)", mark, marks[mark].Line)
	}
	return nil, &extract.FileError{Code: CodeMixedCurrencies, Detail: "amounts are marked with " + strings.Join(list, ", "),
		Hint: "a database has one currency: name it with the setting currency, such as currency: EUR, and rows of any other are rejected"}
}

// Currencies are those that the database's can be, by the setting and by the marks of
// amounts that are loaded. A setting that does not fit them is an error about every file.
func (r Rules) Currencies(loaded map[string]bool) (left Currencies, err error) {
	if r.Currency != "" {
		left = Currencies{r.Currency}
	}
	for _, mark := range slices.Sorted(maps.Keys(loaded)) {
		narrower := left.with(CurrenciesOf(mark))
		if len(narrower) == 0 {
			return nil, &extract.FileError{Code: CodeMixedCurrencies,
				Detail: fmt.Sprintf("the setting currency is %s, and amounts are loaded that are marked with %q", r.Currency, mark),
				Hint:   "a database has one currency: set the one of its amounts, or load the others into a database of their own"}
		}
		left = narrower
	}
	return left, nil
}

// markSeen is a currency mark of a file, and how many valid rows have it.
type markSeen struct {
	mark    string
	allowed bool // it can be of the database's currency
	seen    Seen
}

// check finds the fault of an amount with another currency's mark.
func (m *markSeen) check(row *Row) *markSeen {
	if !m.allowed {
		row.Amount, row.Faults = money.Amount{}, row.Faults.With(FaultOtherCurrency)
	}
	return m
}

// markSeen is what is known of a mark. Files have one or two: a list is faster than a map.
func (c *Cleaner) markSeen(mark []byte) *markSeen {
	for _, m := range c.marks {
		if m.mark == string(mark) {
			return m
		}
	}
	m := &markSeen{mark: string(mark), allowed: len(c.currencies.with(CurrenciesOf(string(mark)))) > 0}
	c.marks = append(c.marks, m)
	return m
}

// noteMark notes the mark of a valid row.
func (c *Cleaner) noteMark(rec *extract.Record, m *markSeen) {
	if m.seen.Cells > 0 {
		m.seen.Cells++
		return
	}
	m.seen.note(rec.Line, c.amountCell(rec, 0))
}
