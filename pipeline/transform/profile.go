package transform

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/pipeline/extract"
)

// Profile is what is in a file: the shapes of its cells, the faults of its rows, and whether
// a source with these rules would take it. Ids that come twice are not searched for, since
// that takes a memory of all of them; a load finds them.
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
	Skipped     int64    `json:"skipped"` // lines above the header

	Read     int64        `json:"read"` // rows
	Valid    int64        `json:"valid"`
	Rejected int64        `json:"rejected"`
	Faults   []FaultCount `json:"faults"` // in the order in which they count

	DateShapes   []ShapeCount      `json:"date_shapes"` // most frequent first; 9 stands for a digit
	AmountShapes []ShapeCount      `json:"amount_shapes"`
	Currencies   []ShapeCount      `json:"currencies"`  // marks of valid rows
	Conventions  []ConventionCount `json:"conventions"` // of which the file tells something
	Rows         []ProfileRow      `json:"rows"`        // the first valid ones, as they would be loaded
	Hints        []string          `json:"hints"`       // settings that would resolve faults
	Warnings     []string          `json:"warnings"`

	// Users and dates are those of valid rows.
	Users        int64  `json:"users"`
	UsersAtLeast bool   `json:"users_at_least"` // there may be more users than were counted
	From         string `json:"from"`           // first date, "" if none
	To           string `json:"to"`             // last date, "" if none

	RejectLimit string `json:"reject_limit"`
	Exceeded    bool   `json:"exceeded"` // a load would refuse the file

	signColumn string
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

// ConventionCount says what a file's values tell of a convention, and what holds.
type ConventionCount struct {
	Setting string `json:"setting"` // slash, dash, dot or decimal
	Choice  string `json:"choice"`  // "": it is not known, and ambiguous values are rejected
	Origin  Origin `json:"origin"`
	Counts

	convention Convention
}

// ProfileRow is a row as it would be loaded.
type ProfileRow struct {
	Line            int64       `json:"line"`
	TransactionID   string      `json:"transaction_id"`
	UserID          int32       `json:"user_id"`
	Amount          json.Number `json:"amount"`
	TransactionDate string      `json:"transaction_date"`
}

const profileRows = 5 // shown

// exampleLength is how much of a cell or a row a profile shows.
const exampleLength = 80

// Check profiles a file or an object that is of a logical date, in bounded memory. It
// never writes. Nothing is known but the rules and the file.
func Check(ctx context.Context, stores *bucket.Stores, location bucket.Location, rules Rules, logical civil.Date) (*Profile, error) {
	var learned Learned
	currencies, err := rules.Currencies(nil)
	if err != nil {
		return nil, err
	}
	reading := Reading{Rules: rules, LogicalDate: logical, Conventions: rules.Assume(&learned), Currencies: currencies}
	p, found, err := profile(ctx, stores, location, reading)
	if err != nil {
		return nil, err
	}
	resolved := rules.Resolve(&learned, &found.Evidence)
	if !found.Evidence.ReadsAlike(reading.Conventions, resolved) {
		reading.Conventions = resolved
		if p, found, err = profile(ctx, stores, location, reading); err != nil {
			return nil, err
		}
	}
	_, err = currencies.Narrow(found.Marks)
	if bad, ok := errors.AsType[*extract.FileError](err); ok {
		bad.Path = p.Path
		return nil, bad
	}
	p.complete(rules, resolved, found)
	return p, nil
}

// profile reads the file once.
func profile(ctx context.Context, stores *bucket.Stores, location bucket.Location, reading Reading) (p *Profile, found *Findings, err error) {
	cleaner, err := NewCleaner(reading)
	if err != nil {
		return nil, nil, err
	}
	f, err := extract.Open(ctx, stores, location, reading.Rules.Dialect)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	r, err := extract.NewReader(f, reading.Rules.Dialect, reading.Rules.Wanted())
	if err != nil {
		return nil, nil, err
	}
	t := newTallying()
	err = Clean(ctx, r, cleaner, newTallying, func(block *tallying) error {
		t.merge(block)
		return nil
	})
	if ctx.Err() != nil {
		return nil, nil, fmt.Errorf("check %s: %w", f.Path(), context.Cause(ctx))
	}
	if err != nil {
		return nil, nil, err
	}
	id := f.Identity()
	p = t.result()
	p.Path, p.Size, p.Compression, p.Encoding = f.Path(), f.Size(), f.Compression(), f.Encoding()
	p.Bytes, p.SHA256 = id.Bytes, hex.EncodeToString(id.SHA256[:])
	p.Columns, p.Delimiter = r.Columns(), string(rune(r.Delimiter()))
	p.LineEnds, p.EmptyLines, p.Skipped, p.signColumn = r.LineEnds(), r.EmptyLines(), r.Skipped(), r.SignColumn()
	return p, cleaner.Findings(), nil
}

// complete adds what is known when the whole file has been read.
func (p *Profile) complete(rules Rules, resolved Conventions, found *Findings) {
	p.RejectLimit = rules.WithDefaults().RejectLimit
	p.Exceeded = rules.Exceeded(p.Rejected, p.Read)
	p.Hints, p.Warnings = found.Hints(), found.Warnings(resolved, p.signColumn)
	p.Conventions = []ConventionCount{}
	for i, counts := range found.Evidence {
		if counts != (Counts{}) {
			c := Convention(i)
			p.Conventions = append(p.Conventions, ConventionCount{c.String(), c.Name(resolved[i].Choice), resolved[i].Origin, counts, c})
		}
	}
	marks := shapes{}
	for mark, seen := range found.Marks {
		marks[mark] = &seen
	}
	p.Currencies = marks.sorted()
}

// tallying collects a profile row by row, of one block or of all of them.
type tallying struct {
	p              Profile
	counts         [LastFault + 1]int64 // rows by their first fault; valid ones at 0
	faults         [LastFault + 1]Seen  // rows that have it
	dates, amounts shapes
	ids            []int32 // users of a block
	users          userSet // of all
	from, to       civil.Date
	shape          []byte
}

func newTallying() *tallying {
	return &tallying{dates: shapes{}, amounts: shapes{}, from: 1<<31 - 1, to: -1 << 31}
}

// Reset empties it for a block.
func (t *tallying) Reset() { *t = *newTallying() }

// Size is about the bytes of what grows with a block.
func (t *tallying) Size() int {
	const shape = 100
	return 4*len(t.ids) + shape*(len(t.dates)+len(t.amounts))
}

// merge adds a block to those before it.
func (t *tallying) merge(block *tallying) {
	t.p.Read += block.p.Read
	for f := range t.faults {
		t.faults[f].add(block.faults[f])
		t.counts[f] += block.counts[f]
	}
	t.dates.merge(block.dates)
	t.amounts.merge(block.amounts)
	t.p.Rows = append(t.p.Rows, block.p.Rows[:min(len(block.p.Rows), profileRows-len(t.p.Rows))]...)
	for _, id := range block.ids {
		t.users.add(id)
	}
	t.from, t.to = min(t.from, block.from), max(t.to, block.to)
}

// Add adds a row.
func (t *tallying) Add(rec *extract.Record, row *Row) {
	t.p.Read++
	for fs := row.Faults; fs != 0; fs &= fs - 1 {
		if f := &t.faults[fs.First()]; f.Cells == 0 {
			*f = Seen{1, row.Line, clip(row.Raw)}
		} else {
			f.Cells++
		}
	}
	t.counts[row.Faults.First()]++
	if row.Faults == 0 {
		if len(t.p.Rows) < profileRows {
			t.p.Rows = append(t.p.Rows, ProfileRow{row.Line, string(row.ID), row.UserID, json.Number(row.Amount.String()), row.Date.String()})
		}
		t.ids = append(t.ids, row.UserID)
		t.from, t.to = min(t.from, row.Date), max(t.to, row.Date)
	}
	if rec.Fault != 0 {
		return // there are no cells
	}
	date := bytes.TrimSpace(rec.Cell(columnDate))
	amount := bytes.TrimSpace(rec.Cell(columnAmount))
	t.shape = appendShape(t.shape[:0], date, false)
	t.dates.of(t.shape).note(row.Line, date)
	t.shape = appendShape(t.shape[:0], amount, true)
	t.amounts.of(t.shape).note(row.Line, amount)
}

func (t *tallying) result() *Profile {
	p := &t.p
	p.Valid = t.counts[0]
	p.Rejected = p.Read - p.Valid
	for f := Fault(1); f <= LastFault; f++ {
		if c := t.faults[f]; c.Cells > 0 {
			p.Faults = append(p.Faults, FaultCount{f.String(), t.counts[f], c.Cells, c.Line, c.Example})
		}
	}
	p.DateShapes, p.AmountShapes = t.dates.sorted(), t.amounts.sorted()
	p.Users, p.UsersAtLeast = t.users.count, t.users.full
	if t.from <= t.to {
		p.From, p.To = t.from.String(), t.to.String()
	}
	return p
}

// shapes counts what cells look like: in a block all of them, in all blocks at most
// maxShapes; what comes after is counted together.
type shapes map[string]*Seen

const (
	maxShapes  = 100
	otherShape = "(other)"
)

func (s shapes) of(shape []byte) *Seen {
	seen := s[string(shape)]
	if seen == nil {
		seen = &Seen{}
		s[string(shape)] = seen
	}
	return seen
}

// merge adds a later block's, in the order in which they were met.
func (s shapes) merge(block shapes) {
	for _, shape := range slices.SortedFunc(maps.Keys(block), func(a, b string) int { return cmp.Compare(block[a].Line, block[b].Line) }) {
		key := shape
		if s[key] == nil && len(s) >= maxShapes {
			key = otherShape
		}
		s.of([]byte(key)).add(*block[shape])
	}
}

// sorted has the most frequent first.
func (s shapes) sorted() []ShapeCount {
	list := make([]ShapeCount, 0, len(s))
	for shape, seen := range s { // one may have been cut within a character
		list = append(list, ShapeCount{strings.ToValidUTF8(shape, ""), seen.Cells, seen.Line, seen.Example})
	}
	slices.SortFunc(list, func(a, b ShapeCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Shape, b.Shape))
	})
	return list
}

// appendShape writes 9 for a digit and a for a letter, but keeps an amount's currency mark,
// and writes its first digits as one.
func appendShape(b, cell []byte, amount bool) []byte {
	const longest = 24
	if len(cell) == 0 {
		return append(b, "(blank)"...)
	}
	run, short := 0, amount
	for i := 0; i < len(cell); i++ {
		if len(b) >= longest {
			return append(b, "…"...)
		}
		c := cell[i]
		switch {
		case isDigit(c):
			if run++; short && run > 1 {
				continue
			}
			c = '9'
		case amount && c >= 'A' && markAtStart(cell[i:]) > 0:
			n := markAtStart(cell[i:])
			b, i, short = append(b, cell[i:i+n]...), i+n-1, short && run == 0
			continue
		case isLetter(c):
			c = 'a'
			fallthrough
		default:
			short = short && run == 0
		}
		b = append(b, c)
	}
	return b
}
