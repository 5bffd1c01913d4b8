package transform

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/opentax/tally/internal/civil"
)

// Findings are what the rows of a file show of it as a whole.
type Findings struct {
	Evidence Evidence
	Marks    map[string]Seen // currency marks of valid rows
	Negative bool            // a valid row's amount is negative
	hints    map[Hint]Seen   // rows by fault and setting, with the text of the first
}

// Hint says which setting would resolve a fault of a row, with its cell in both readings
// where there are two.
type Hint struct {
	Fault   Fault
	Setting string
	Text    string
}

// String is the setting, if there is one, and the text.
func (h Hint) String() string {
	if h.Setting == "" {
		return h.Text
	}
	return h.Setting + ": " + h.Text
}

// OrphanKeyHint is about an id whose row was removed without its key.
func OrphanKeyHint(id []byte) Hint {
	return Hint{Fault: FaultOrphanKey, Text: shown(id) + " is in transaction_keys, but its row is not in transactions, as after a month was dropped by hand: " +
		"tally verify lists such keys, and tally rebuild removes them; then load the file again with tally run, or the rejects with tally replay"}
}

// RetiredMonthHint is about a row that would be stored in a month that is retired.
func RetiredMonthHint(id []byte, before civil.Date) Hint {
	return Hint{Fault: FaultRetiredMonth, Text: "the date of " + shown(id) + " is before " + before.String() +
		", and the months before it are retired: they take no more rows"}
}

// AddHint adds what a load finds out about a row when it has read the file. Such rows come
// in any order.
func (f *Findings) AddHint(h Hint, line int64) {
	kind, seen := Hint{Fault: h.Fault, Setting: h.Setting}, Seen{1, line, h.Text}
	if before := f.hints[kind]; before.Cells > 0 && line < before.Line {
		before.Line, before.Example = line, h.Text
		f.hints[kind] = before
	}
	addTo(&f.hints, kind, seen)
}

// addTo adds what a later part of the file has under a key.
func addTo[K comparable](all *map[K]Seen, key K, later Seen) {
	if *all == nil {
		*all = map[K]Seen{}
	}
	mine := (*all)[key]
	mine.add(later)
	(*all)[key] = mine
}

// add adds those of a later part of the file.
func (f *Findings) add(later *Findings) {
	f.Evidence.add(&later.Evidence)
	f.Negative = f.Negative || later.Negative
	for mark, seen := range later.Marks {
		addTo(&f.Marks, mark, seen)
	}
	for kind, seen := range later.hints {
		addTo(&f.hints, kind, seen)
	}
}

// Warnings are what is odd about a file that is loaded all the same: conventions that are
// contradicted, and a column that seems to hold the amounts' signs (empty: there is none).
func (f *Findings) Warnings(conventions Conventions, signColumn string) []string {
	warnings := []string{}
	for i, decision := range conventions {
		if c := Convention(i); decision.Origin == Contradicted {
			warnings = append(warnings, fmt.Sprintf("%s: %s; ambiguous values are rejected (%d)", c, decision.Why, f.Evidence[i].Ambiguous.Cells))
		}
	}
	if signColumn != "" && !f.Negative {
		warnings = append(warnings, fmt.Sprintf("columns: no amount is negative, and column %q seems to hold their signs: if so, set "+
			"columns: {amount: {value: amount, sign: %q, negative: [...]}}", signColumn, signColumn))
	}
	return warnings
}

// Hints are one for each fault and setting that would resolve it, in the order of their
// first lines: "slash: 3 rows with ambiguous_date, first line 2: …".
func (f *Findings) Hints() []string {
	kinds := slices.SortedFunc(maps.Keys(f.hints), func(a, b Hint) int {
		return cmp.Or(cmp.Compare(f.hints[a].Line, f.hints[b].Line), cmp.Compare(a.Fault, b.Fault), cmp.Compare(a.Setting, b.Setting))
	})
	texts := make([]string, len(kinds))
	for i, h := range kinds {
		n := f.hints[h]
		rows := "1 row"
		if n.Cells > 1 {
			rows = fmt.Sprint(n.Cells, " rows")
		}
		h.Text = fmt.Sprintf("%s with %s, first line %d: %s", rows, h.Fault, n.Line, n.Example)
		texts[i] = h.String()
	}
	return texts
}
