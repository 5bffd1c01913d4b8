package prove

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/pipeline/extract"
	"github.com/opentax/tally/pipeline/seal"
	"github.com/opentax/tally/pipeline/transform"
)

// Fault says what of a receipt does not hold.
type Fault struct{ Reason string }

func (f *Fault) Error() string { return f.Reason }

func fault(format string, args ...any) error { return &Fault{fmt.Sprintf(format, args...)} }

// Decode reads a receipt. What it has beyond a receipt's fields is a [Fault].
func Decode(content []byte) (*Receipt, error) {
	r := &Receipt{}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(r); err != nil {
		return nil, fault("the receipt cannot be read: %s", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, fault("something follows the receipt")
	}
	if r.Format != Format {
		return nil, fault("the receipt has format %d, and this version of Tally checks %d", r.Format, Format)
	}
	return r, nil
}

// Check verifies a receipt with the contents of its files, compressed or not. A head that was
// noted elsewhere (zero: none) must be on the receipt's part of the chain. A [Fault] names the
// first thing that does not hold. The result is how many rows of the user are not counted.
func (r *Receipt) Check(ctx context.Context, noted audit.Head, files []string) (uncounted int, err error) {
	if err := r.checkChain(noted); err != nil {
		return 0, err
	}
	entries, err := r.entries()
	if err != nil {
		return 0, err
	}
	c := &check{receipt: r, entries: entries, rows: map[Place]*Row{}, ids: map[string]bool{}, contents: map[string]string{}, used: map[string]bool{}}
	if err := c.checkRows(); err != nil {
		return 0, err
	}
	for _, path := range files {
		identity, _, err := extract.Identify(ctx, &bucket.Stores{}, bucket.Path(path))
		if err != nil {
			return 0, err
		}
		c.contents[hex.EncodeToString(identity.SHA256[:])] = path
	}
	for _, e := range c.loads {
		if err := c.checkFile(ctx, e); err != nil {
			return 0, err
		}
	}
	for digest, path := range c.contents {
		if !c.used[digest] {
			return 0, fault("%s: no file of the receipt has this content (SHA-256 %s)", path, digest)
		}
	}
	return c.uncounted, nil
}

// checkChain goes along the links up to the head.
func (r *Receipt) checkChain(noted audit.Head) error {
	hash, err := hex.DecodeString(r.Chain.Previous)
	if err != nil || r.Chain.First < 1 || r.Chain.First == 1 && slices.ContainsFunc(hash, func(b byte) bool { return b != 0 }) {
		return fault("the chain does not begin with the hash of an entry")
	}
	number, seen := r.Chain.First-1, ""
	for _, text := range r.Chain.Digests {
		digest, err := hex.DecodeString(text)
		if err != nil {
			return fault("entry %d: its digest cannot be read", number+1)
		}
		next := seal.Link(hash, digest)
		number, hash = number+1, next[:]
		if number == noted.Number {
			seen = hex.EncodeToString(hash)
		}
	}
	switch {
	case number != r.Head.Number || hex.EncodeToString(hash) != r.Head.Hash:
		return fault("the chain leads to %d:%x, and the head is %s", number, hash, r.Head)
	case noted.Number == 0 || seen == noted.Hash:
		return nil
	case noted.Number < r.Chain.First:
		return fault("the head that was noted is entry %d, and the receipt's part of the chain begins with entry %d", noted.Number, r.Chain.First)
	case noted.Number > number:
		return fault("the head that was noted is entry %d, and the receipt's chain ends with entry %d", noted.Number, number)
	default:
		return fault("entry %d has the hash %s, and the head that was noted is %s", noted.Number, seen, noted)
	}
}

// entries are those that the receipt shows, by number; their texts must be on the chain.
func (r *Receipt) entries() (map[int64]*seal.Entry, error) {
	entries := map[int64]*seal.Entry{}
	for _, shown := range r.Entries {
		e, digest, at := &seal.Entry{}, seal.Digest(shown.Text), shown.Number-r.Chain.First
		if at < 0 || at >= int64(len(r.Chain.Digests)) || r.Chain.Digests[at] != hex.EncodeToString(digest[:]) {
			return nil, fault("entry %d: its text is not the one on the chain", shown.Number)
		}
		if err := json.Unmarshal([]byte(shown.Text), e); err != nil {
			return nil, fault("entry %d: its text cannot be read: %s", shown.Number, err)
		}
		if e.Number != shown.Number || entries[e.Number] != nil {
			return nil, fault("entry %d: it is shown as another, or twice", shown.Number)
		}
		entries[e.Number] = e
	}
	return entries, nil
}

// check is the verification of a receipt.
type check struct {
	receipt   *Receipt
	entries   map[int64]*seal.Entry
	loads     []*seal.Entry // of the rows' files
	rows      map[Place]*Row
	ids       map[string]bool
	contents  map[string]string // paths of the files at hand, by SHA-256
	used      map[string]bool
	uncounted int
}

// checkRows adds the rows up, and compares them with the entries that they name.
func (c *check) checkRows() error {
	var total money.Sum
	shown, loads := map[int64]bool{}, map[int64]int64{}
	for i := range c.receipt.Rows {
		row := &c.receipt.Rows[i]
		load, change, read := c.entries[row.Load], c.entries[row.Change], c.entries[row.ReadIn]
		switch {
		case load == nil || change == nil || read == nil:
			return fault("%s: the receipt does not show the entries %d, %d and %d that it names", row.name(), row.Load, row.Change, row.ReadIn)
		case load.Kind != seal.Load || load.FileID != row.FileID || loads[row.FileID] != 0 && loads[row.FileID] != row.Load:
			return fault("%s: entry %d did not load its file", row.name(), row.Load)
		case change.Kind != row.Cause || change.Kind == seal.Load && row.Change != row.Load:
			return fault("%s: entry %d is a %s", row.name(), row.Change, change.Kind)
		case row.ReadIn < row.Load || row.Change < row.ReadIn || reading(read, row.FileID) == nil:
			return fault("%s: entry %d did not read it", row.name(), row.ReadIn)
		case c.rows[row.Place] != nil || c.ids[row.TransactionID]:
			return fault("%s: it is there twice", row.name())
		}
		if loads[row.FileID] == 0 {
			c.loads = append(c.loads, load)
		}
		loads[row.FileID], c.rows[row.Place], c.ids[row.TransactionID] = row.Load, row, true
		shown[row.Load], shown[row.Change], shown[row.ReadIn] = true, true, true
		total = total.Plus(row.Amount)
	}
	if n := int64(len(c.receipt.Rows)); n != c.receipt.Transactions || total != c.receipt.Total {
		return fault("the rows are %d and add up to %s; the receipt says %d and %s", n, total, c.receipt.Transactions, c.receipt.Total)
	}
	if len(shown) != len(c.entries) {
		return fault("the receipt shows entries that no row names")
	}
	return nil
}

func (r *Row) name() string {
	return fmt.Sprintf("transaction %s (file %d, line %d)", r.TransactionID, r.FileID, r.Line)
}

// reading is how an entry's commit read rows of a file; nil if it did not.
func reading(e *seal.Entry, file int64) *seal.Reading {
	i := slices.IndexFunc(e.Readings, func(r seal.Reading) bool { return r.FileID == file })
	if i < 0 {
		return nil
	}
	return &e.Readings[i]
}

// checkFile reads a file again as it was loaded, and its rows that came later as they were
// read then.
func (c *check) checkFile(ctx context.Context, e *seal.Entry) (err error) {
	path := c.contents[e.SHA256]
	if path == "" {
		return fault("file %d (%s): none of the files given has its content (SHA-256 %s)", e.FileID, e.Path, e.SHA256)
	}
	c.used[e.SHA256] = true
	rules, how, err := settings(reading(e, e.FileID))
	if err != nil {
		return fmt.Errorf("entry %d: %w", e.Number, err)
	}
	file, err := extract.Open(ctx, &bucket.Stores{}, bucket.Path(path), rules.Dialect)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	reader, err := extract.NewReader(file, rules.Dialect, rules.Wanted())
	if err != nil {
		return err
	}
	found, err := c.checkLines(e, reader, file.Encoding(), how)
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, file); err != nil {
		return err
	}
	if identity := file.Identity(); hex.EncodeToString(identity.SHA256[:]) != e.SHA256 {
		return fault("%s: it changed while it was read", path)
	}
	for place, row := range c.rows {
		if place.FileID == e.FileID && !found[place.Line] {
			return fault("%s: no row starts on that line of %s", row.name(), path)
		}
	}
	return nil
}

// checkLines compares the rows of the user, and returns the lines of those that are counted.
func (c *check) checkLines(e *seal.Entry, reader *extract.Reader, encoding string, how transform.Reading) (found map[int64]bool, err error) {
	cleaner, err := transform.NewCleaner(how)
	if err != nil {
		return nil, err
	}
	found = map[int64]bool{}
	var row transform.Row
	for {
		record, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		place := Place{e.FileID, record.Line}
		cleaner.Clean(record, &row)
		want := c.rows[place]
		if want == nil {
			if err := c.account(place, &row); err != nil {
				return nil, err
			}
			continue
		}
		found[place.Line] = true
		if want.ReadIn == e.Number {
			err = want.compare(&row, c.receipt.UserID)
		} else {
			err = c.checkReread(want, reader.Layout(encoding), bytes.Clone(record.Raw()))
		}
		if err != nil {
			return nil, err
		}
	}
}

// account accounts for a row that is not counted: it has the id of one that is, or is among
// those that the receipt names.
func (c *check) account(place Place, row *transform.Row) error {
	if row.Faults != 0 || row.UserID != c.receipt.UserID || c.ids[string(row.ID)] {
		return nil
	}
	if !slices.Contains(c.receipt.Uncounted, place) {
		return fault("line %d of file %d is a row of the user (transaction %s), and the receipt does not have it", place.Line, place.FileID, row.ID)
	}
	c.uncounted++
	return nil
}

// checkReread reads a row again that was rejected by its load, as a later entry read it.
func (c *check) checkReread(want *Row, layout extract.Layout, raw []byte) error {
	sealed := reading(c.entries[want.ReadIn], want.FileID)
	rules, how, err := settings(sealed)
	if err != nil {
		return fmt.Errorf("entry %d: %w", want.ReadIn, err)
	}
	var fix transform.Fix
	if given := sealed.Fixes[want.Line]; len(given) > 0 {
		if err := json.Unmarshal(given, &fix); err != nil {
			return fmt.Errorf("entry %d: fix: %w", want.ReadIn, err)
		}
	}
	rows, err := layout.Reader(rules.Dialect, rules.Wanted())
	if err != nil {
		return err
	}
	cleaner, err := transform.NewCleaner(how)
	if err != nil {
		return err
	}
	record, err := rows.Read(raw, want.Line)
	if err != nil {
		return err
	}
	var row transform.Row
	cleaner.CleanFixed(record, &row, fix)
	return want.compare(&row, c.receipt.UserID)
}

func (r *Row) compare(got *transform.Row, user int32) error {
	if got.Faults != 0 {
		return fault("%s: the line has the faults %q", r.name(), got.Faults.Strings())
	}
	if string(got.ID) != r.TransactionID || got.UserID != user || got.Amount.Sum() != r.Amount || got.Date != r.Date {
		return fault("%s: the line reads transaction %s of user %d, %s on %s; the receipt has %s of user %d, %s on %s", r.name(),
			got.ID, got.UserID, got.Amount, got.Date, r.TransactionID, user, r.Amount, r.Date)
	}
	return nil
}

// settings are those of a sealed reading.
func settings(sealed *seal.Reading) (rules transform.Rules, how transform.Reading, err error) {
	if sealed == nil || sealed.Version != transform.Version {
		return rules, how, fault("this version of Tally reads values by version %d of its rules, and the file was read by another", transform.Version)
	}
	if err := json.Unmarshal(sealed.Rules, &rules); err != nil {
		return rules, how, fmt.Errorf("rules: %w", err)
	}
	date, err := civil.Parse(cmp.Or(sealed.LogicalDate, "1970-01-01"))
	if err != nil {
		return rules, how, fmt.Errorf("logical date: %w", err)
	}
	how = transform.Reading{Rules: rules, LogicalDate: date}
	how.Conventions, err = transform.Named(sealed.Conventions)
	return rules, how, err
}
