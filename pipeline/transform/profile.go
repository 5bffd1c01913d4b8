package transform

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/pipeline/extract"
)

// Profile is what is in a file: the shapes that its cells have, the faults that
// its rows have, and whether a source with these rules would take it. Rows are
// looked at one by one: ids that come twice are not searched for, since that
// takes a memory of all of them; a load finds them.
type Profile struct {
	Path        string   `json:"path"`
	Size        int64    `json:"size"`        // bytes on disk
	Bytes       int64    `json:"bytes"`       // bytes of content after decompression
	SHA256      string   `json:"sha256"`      // of the content after decompression, in hex
	Compression string   `json:"compression"` // gzip, zstd or ""
	Encoding    string   `json:"encoding"`
	Delimiter   string   `json:"delimiter"`
	LineEnds    string   `json:"line_ends"` // LF, CRLF, mixed, or none
	EmptyLines  int64    `json:"empty_lines"`
	Columns     []string `json:"columns"`

	Read     int64        `json:"read"` // rows
	Valid    int64        `json:"valid"`
	Rejected int64        `json:"rejected"`
	Faults   []FaultCount `json:"faults"` // in the order in which they count

	DateShapes   []ShapeCount     `json:"date_shapes"` // most frequent first; 9 stands for a digit
	Separators   []SeparatorCount `json:"separators"`
	AmountShapes []ShapeCount     `json:"amount_shapes"`
	Currencies   []ShapeCount     `json:"currencies"` // marks of amounts that could be read

	// Users and dates are those of rows without a fault of their own, also where
	// their date turns out to be ambiguous.
	Users        int64  `json:"users"`
	UsersAtLeast bool   `json:"users_at_least"` // there may be more users than were counted
	From         string `json:"from"`           // first date, "" if none
	To           string `json:"to"`             // last date, "" if none

	RejectLimit string `json:"reject_limit"`
	Exceeded    bool   `json:"exceeded"` // a load would refuse the file
}

// FaultCount says how many rows have a fault.
type FaultCount struct {
	Fault   string `json:"fault"`
	Count   int64  `json:"count"`   // rows whose first fault it is; these add up to the rejected rows
	Rows    int64  `json:"rows"`    // rows that have it
	Line    int64  `json:"line"`    // of the first row that has it
	Example string `json:"example"` // the start of that row
}

// ShapeCount says how many cells look alike.
type ShapeCount struct {
	Shape   string `json:"shape"`
	Count   int64  `json:"count"`
	Line    int64  `json:"line"` // of the first one
	Example string `json:"example"`
}

// SeparatorCount says what the dates that end in their year tell of their order.
type SeparatorCount struct {
	Separator    string    `json:"separator"`
	Order        DateOrder `json:"order"`        // the rule in force
	MonthFirst   int64     `json:"month_first"`  // dates possible in that order only
	DayFirst     int64     `json:"day_first"`    // dates possible in that order only
	Alike        int64     `json:"alike"`        // dates that are the same in both
	Ambiguous    int64     `json:"ambiguous"`    // dates that are different in each
	Contradicted bool      `json:"contradicted"` // the first three speak against the rule: ambiguous dates are rejected
}

// exampleLength is how much of a cell or a row a profile shows.
const exampleLength = 80

// Check profiles a file or an object, in bounded memory. It never writes.
func Check(ctx context.Context, stores *bucket.Stores, location bucket.Location, rules Rules) (*Profile, error) {
	f, err := extract.Open(ctx, stores, location, extract.Dialect{})
	if err != nil {
		return nil, err
	}
	p, err := profile(ctx, f, rules)
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

func profile(ctx context.Context, f *extract.File, rules Rules) (*Profile, error) {
	cleaner, err := NewCleaner(rules, 0)
	if err != nil {
		return nil, err
	}
	r, err := extract.NewReader(f, extract.Dialect{}, Columns())
	if err != nil {
		return nil, err
	}
	t := newTallying()
	t.undecided = map[byte]*undecided{}
	err = Clean(ctx, r, cleaner, newTallying, func(block *tallying) error {
		t.merge(block)
		return nil
	})
	if ctx.Err() != nil {
		return nil, fmt.Errorf("check %s: %w", f.Path(), context.Cause(ctx))
	}
	if err != nil {
		return nil, err
	}
	id := f.Identity()
	p := t.result(cleaner)
	p.Path, p.Size, p.Compression, p.Encoding = f.Path(), f.Size(), f.Compression(), f.Encoding()
	p.Bytes, p.SHA256 = id.Bytes, hex.EncodeToString(id.SHA256[:])
	p.Columns, p.Delimiter = r.Columns(), string(rune(r.Delimiter()))
	p.LineEnds, p.EmptyLines = r.LineEnds(), r.EmptyLines()
	p.RejectLimit = rules.WithDefaults().RejectLimit
	p.Exceeded = rules.Exceeded(p.Rejected, p.Read)
	return p, nil
}

// tallying collects a profile row by row, of one block or of all of them.
type tallying struct {
	p                          Profile
	faults                     [LastFault + 1]FaultCount
	undecided                  map[byte]*undecided
	dates, amounts, currencies shapes
	ids                        []int32 // users of a block
	users                      userSet // of all
	from, to                   civil.Date
	shape                      []byte
}

// undecided are the ambiguous dates of a separator, which are not known to be
// faults before the file ends.
type undecided struct {
	rows  FaultCount
	valid int64           // rows without another fault
	late  map[Fault]int64 // rows whose first fault counts after it
}

func newTallying() *tallying {
	return &tallying{from: 1<<31 - 1, to: -1 << 31}
}

// Reset empties it for a block.
func (t *tallying) Reset() {
	ids, shape := t.ids[:0], t.shape
	clear(t.dates)
	clear(t.amounts)
	clear(t.currencies)
	*t = tallying{ids: ids, shape: shape, dates: t.dates, amounts: t.amounts, currencies: t.currencies, from: 1<<31 - 1, to: -1 << 31}
}

// merge adds a block to those before it.
func (t *tallying) merge(block *tallying) {
	t.p.Read += block.p.Read
	for f := range t.faults {
		t.faults[f].merge(&block.faults[f])
	}
	for sep, u := range block.undecided {
		if t.undecided[sep] == nil {
			t.undecided[sep] = &undecided{late: map[Fault]int64{}}
		}
		mine := t.undecided[sep]
		mine.rows.merge(&u.rows)
		mine.valid += u.valid
		for f, n := range u.late {
			mine.late[f] += n
		}
	}
	t.dates.merge(block.dates)
	t.amounts.merge(block.amounts)
	t.currencies.merge(block.currencies)
	for _, id := range block.ids {
		t.users.add(id)
	}
	t.from, t.to = min(t.from, block.from), max(t.to, block.to)
}

func (c *FaultCount) merge(later *FaultCount) {
	if c.Rows == 0 {
		c.Line, c.Example = later.Line, later.Example
	}
	c.Count += later.Count
	c.Rows += later.Rows
}

// Add adds a row.
func (t *tallying) Add(rec *extract.Record, row *Row) {
	t.p.Read++
	for fs := row.Faults; fs != 0; fs &= fs - 1 {
		t.faults[fs.First()].note(row)
	}
	t.faults[row.Faults.First()].Count++
	if row.Ambiguous != 0 {
		t.ambiguous(row)
	}
	if row.Faults == 0 {
		t.ids = append(t.ids, row.UserID)
		t.from, t.to = min(t.from, row.Date), max(t.to, row.Date)
	}
	if rec.Fault != 0 {
		return // there are no cells
	}
	date := bytes.TrimSpace(rec.Cell(columnDate))
	amount := bytes.TrimSpace(rec.Cell(columnAmount))
	t.shape = appendShape(t.shape[:0], date, false)
	t.dates.add(t.shape, date, row.Line)
	t.shape = appendShape(t.shape[:0], amount, true)
	t.amounts.add(t.shape, amount, row.Line)
	if !row.Faults.Has(FaultMissingAmount) && !row.Faults.Has(FaultInvalidAmount) {
		if a, ok := dissectAmount(amount); ok && len(a.mark) > 0 {
			t.currencies.add(a.mark, amount, row.Line)
		}
	}
}

func (c *FaultCount) note(row *Row) {
	if c.Rows++; c.Rows == 1 {
		c.Line, c.Example = row.Line, clip(string(row.Raw[:min(len(row.Raw), 2*exampleLength)]), exampleLength)
	}
}

func (t *tallying) ambiguous(row *Row) {
	u := t.undecided[row.Ambiguous]
	if t.undecided == nil {
		t.undecided = map[byte]*undecided{}
	}
	if u == nil {
		u = &undecided{late: map[Fault]int64{}}
		t.undecided[row.Ambiguous] = u
	}
	u.rows.note(row)
	if first := row.Faults.First(); first == 0 {
		u.valid++
	} else if first > FaultAmbiguousDate {
		u.late[first]++
	}
}

// decide turns the ambiguous dates of a contradicted separator into faults.
func (t *tallying) decide(u *undecided) {
	c := &t.faults[FaultAmbiguousDate]
	if c.Rows == 0 || u.rows.Line < c.Line {
		c.Line, c.Example = u.rows.Line, u.rows.Example
	}
	c.Rows += u.rows.Rows
	c.Count += u.valid
	t.faults[0].Count -= u.valid
	for f, n := range u.late {
		c.Count += n
		t.faults[f].Count -= n
	}
}

func (t *tallying) result(c *Cleaner) *Profile {
	p := &t.p
	for i, sep := range []byte(dateSeparators) {
		r, order := c.seen[i], c.orders[i]
		if u := t.undecided[sep]; u != nil && r.contradicts(order) {
			t.decide(u)
		}
		if r != (readings{}) {
			p.Separators = append(p.Separators, SeparatorCount{string(rune(sep)), order, r.month, r.day, r.alike, r.byRule, r.contradicts(order)})
		}
	}
	p.Valid = t.faults[0].Count
	p.Rejected = p.Read - p.Valid
	for f := Fault(1); f <= LastFault; f++ {
		if c := t.faults[f]; c.Rows > 0 {
			c.Fault = f.String()
			p.Faults = append(p.Faults, c)
		}
	}
	p.DateShapes, p.AmountShapes, p.Currencies = t.dates.sorted(), t.amounts.sorted(), t.currencies.sorted()
	p.Users, p.UsersAtLeast = t.users.count, t.users.full
	if t.from <= t.to {
		p.From, p.To = t.from.String(), t.to.String()
	}
	return p
}

// clip shortens s to n bytes.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

// shapes counts what cells look like: in a block all of them, in all blocks at most
// maxShapes; what comes after is counted together.
type shapes map[string]*ShapeCount

const (
	maxShapes  = 100
	otherShape = "(other)"
)

func (s *shapes) add(shape, cell []byte, line int64) {
	c := (*s)[string(shape)]
	if c == nil {
		if *s == nil {
			*s = shapes{}
		}
		c = &ShapeCount{Shape: string(shape), Line: line, Example: clip(string(cell[:min(len(cell), 2*exampleLength)]), exampleLength)}
		(*s)[string(shape)] = c
	}
	c.Count++
}

// merge adds a later block's.
func (s *shapes) merge(block shapes) {
	if *s == nil {
		*s = shapes{}
	}
	for shape, c := range inOrder(block) {
		key := shape
		if (*s)[key] == nil && len(*s) >= maxShapes {
			key = otherShape
		}
		mine := (*s)[key]
		if mine == nil {
			mine = &ShapeCount{Shape: strings.ToValidUTF8(key, ""), Line: c.Line, Example: c.Example} // it may have been cut within a character
			(*s)[key] = mine
		}
		mine.Count += c.Count
	}
}

// inOrder gives shapes in the order in which they were met.
func inOrder(s shapes) iter.Seq2[string, *ShapeCount] {
	keys := slices.SortedFunc(maps.Keys(s), func(a, b string) int { return cmp.Compare(s[a].Line, s[b].Line) })
	return func(yield func(string, *ShapeCount) bool) {
		for _, key := range keys {
			if !yield(key, s[key]) {
				return
			}
		}
	}
}

func (s *shapes) sorted() []ShapeCount {
	list := make([]ShapeCount, 0, len(*s))
	for _, c := range *s {
		list = append(list, *c)
	}
	slices.SortFunc(list, func(a, b ShapeCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Shape, b.Shape))
	})
	return list
}

// appendShape writes 9 for each digit and keeps everything else, but for letters
// that spell no currency: these become a. If short, the first digits become one.
func appendShape(b, cell []byte, short bool) []byte {
	const longest = 24
	if len(cell) == 0 {
		return append(b, "(blank)"...)
	}
	run := 0
	for i, c := range cell {
		if len(b) >= longest {
			return append(b, "…"...)
		}
		switch {
		case c >= '0' && c <= '9':
			if run++; short && run > 1 {
				continue
			}
			c = '9'
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z' && !inCurrency(cell, i):
			c = 'a'
			fallthrough
		default:
			short = short && run == 0
		}
		b = append(b, c)
	}
	return b
}

// inCurrency reports whether the letter at i belongs to a currency code.
func inCurrency(cell []byte, i int) bool {
	for from := max(i-2, 0); from <= i && from+3 <= len(cell); from++ {
		if isCurrency(cell[from : from+3]) {
			return true
		}
	}
	return false
}
