package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/pipeline/extract"
	"github.com/opentax/tally/pipeline/transform"
)

type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// isLoaded makes the result unchanged where the content is loaded already, and would be
// read as it was then.
func (l *load) isLoaded(ctx context.Context, db querier) (bool, error) {
	rules, err := l.request.rules()
	if err != nil {
		return false, err
	}
	var e entry
	err = db.QueryRow(ctx, l.loader.statements.Get("known_content"), l.identity.SHA256[:], transform.Version, rules, l.request.Source).
		Scan(&e.id, &e.source, &e.path, &e.conventions, &e.outOfWindow, &e.orphans, &e.replaced)
	if errors.Is(err, pgx.ErrNoRows) {
		return l.isReverted(ctx, db)
	}
	if err != nil {
		return false, fmt.Errorf("look up the content: %w", err)
	}
	same, err := l.request.readsAlike(&e, func() (*proven, error) { return l.loader.lookUpProven(ctx, db, &l.request) })
	if !same || err != nil {
		return false, err
	}
	if stands, err := l.stands(ctx, db, &e); !stands || err != nil {
		return false, err
	}
	l.startOver()
	l.result.Status, l.result.FileID, l.result.LoadedAs = StatusUnchanged, e.id, e.path
	return true, nil
}

// isReverted makes the result unchanged where the content was taken back out. Only a person
// loads it again: it may still lie where it was loaded from.
func (l *load) isReverted(ctx context.Context, db querier) (bool, error) {
	if l.request.Again {
		return false, nil
	}
	var file int64
	var path string
	err := db.QueryRow(ctx, l.loader.statements.Get("reverted_content"), l.identity.SHA256[:]).Scan(&file, &path)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up the content: %w", err)
	}
	l.startOver()
	l.result.Status, l.result.FileID, l.result.LoadedAs = StatusUnchanged, file, path
	l.result.Warnings = append(l.result.Warnings, revertedWarning(file, l.path))
	return true, nil
}

func revertedWarning(file int64, path string) string {
	return fmt.Sprintf("file %d with the same content was reverted; tally run %s loads it again", file, path)
}

// entry is one of the ledger with the same content, read by the same rules.
type entry struct {
	id           int64
	source, path string
	conventions  []byte
	outOfWindow  bool // it has dates outside the window
	orphans      bool // it has rows whose keys were orphans
	replaced     bool // rows may have lost their place; the statement displaced knows
}

// readsAlike reports whether content would be read as when it was loaded. What its own
// source has learned since, what the later end of the default window lets in, or a key
// that is no orphan any more, counts only where a person asks for it: a source that learns does not load all of its files
// anew.
func (r *Request) readsAlike(e *entry, proven func() (*proven, error)) (bool, error) {
	if !r.Again && e.source == r.Source {
		return true, nil
	}
	if r.Again && (e.orphans || e.outOfWindow && r.Rules.To == "") {
		return false, nil
	}
	var record transform.ConventionRecord
	if err := json.Unmarshal(e.conventions, &record); err != nil {
		return false, fmt.Errorf("read the content's conventions: %w", err)
	}
	now, err := proven()
	if err != nil {
		return false, err
	}
	conventions, evidence := record.Load()
	return evidence.ReadsAlike(conventions, r.Rules.Resolve(&now.conventions, &evidence)), nil
}

// stands reports whether the content's rows are those that are stored. Where corrections
// replace rows, content that comes back takes its place again: A, B, A ends with A. A file
// that merely lies where it was loaded from has not come back.
func (l *load) stands(ctx context.Context, db querier, e *entry) (same bool, err error) {
	if l.request.Rules.Corrections != transform.CorrectionsReplace {
		return true, nil
	}
	displaced := e.replaced
	if displaced && !l.request.Again {
		err = db.QueryRow(ctx, l.loader.statements.Get("same_file"), l.identity.SHA256[:], l.path, l.request.Source).Scan(&same)
		if same || err != nil {
			return same, err
		}
	}
	if displaced {
		err = db.QueryRow(ctx, l.loader.statements.Get("displaced"), e.id, l.request.LogicalDate).Scan(&displaced)
	}
	if err != nil || displaced {
		return false, err
	}
	if e.path != l.path || e.source != l.request.Source {
		// For the nights to come, and outside the transaction, which is rolled back here.
		_, err = l.loader.pool.Exec(ctx, l.loader.statements.Get("copy"), l.identity.SHA256[:], l.path, l.request.Source)
	}
	return true, err
}

// arrival is when a file came: entry of the ledger, and logical date. The later one wins
// where corrections replace rows.
type arrival struct {
	file int64
	date civil.Date
}

// arrives looks up the file's arrival where corrections replace rows: that of this load, or
// of an earlier one if the content still lies where it was loaded from.
func (l *load) arrives(ctx context.Context) error {
	if l.request.Rules.Corrections != transform.CorrectionsReplace {
		return nil
	}
	err := l.tx.QueryRow(ctx, l.loader.statements.Get("arrival"),
		l.identity.SHA256[:], l.path, l.request.Source, l.request.RunID, l.request.Again).Scan(&l.arrivedAs, (*int32)(&l.arrival.date))
	if err != nil {
		return fmt.Errorf("look up when the content came: %w", err)
	}
	l.arrival.file = l.fileID
	if l.arrivedAs != nil {
		l.arrival.file = *l.arrivedAs
	}
	return nil
}

// proven is the knowledge of the database when a file is read.
type proven struct {
	conventions transform.Learned
	marks       map[string]bool // of amounts that are loaded
}

// lookUpProven looks up what loaded files have proven.
func (l *Loader) lookUpProven(ctx context.Context, db querier, request *Request) (*proven, error) {
	source := request.Source
	if !request.Learns {
		source = ""
	}
	k := &proven{marks: map[string]bool{}}
	rows, _ := db.Query(ctx, l.statements.Get("learned"), source) // ForEachRow returns its error
	var convention, value string
	var proof transform.Proof
	_, err := pgx.ForEachRow(rows, []any{&convention, &value, &proof.FileID, &proof.Path, &proof.Line}, func() error {
		if convention == currencyConvention {
			k.marks[value] = true
			return nil
		}
		return k.conventions.Add(convention, value, proof)
	})
	if err != nil {
		return nil, fmt.Errorf("look up the conventions of the source: %w", err)
	}
	return k, nil
}

// currencyConvention is the currency's name among the conventions of etl_conventions.
const currencyConvention = "currency"

// prepare looks up what is proven, and sets the first reading from it.
func (l *load) prepare(ctx context.Context, db querier) (err error) {
	if l.proven, err = l.loader.lookUpProven(ctx, db, &l.request); err != nil {
		return err
	}
	rules := l.request.Rules
	l.reading = transform.Reading{Rules: rules, LogicalDate: l.request.LogicalDate, Conventions: rules.Assume(&l.proven.conventions)}
	l.reading.Currencies, err = rules.Currencies(l.proven.marks)
	return l.about(err)
}

// outdated reports whether another load has proven something since the file was read
// that it is to be read by.
func (l *load) outdated(ctx context.Context) (bool, error) {
	before, old := l.proven, l.reading
	if err := l.prepare(ctx, l.tx); err != nil {
		return false, err
	}
	resolved := l.request.Rules.Resolve(&l.proven.conventions, &l.findings.Evidence)
	l.reading.Conventions = resolved
	// Marks are only ever added.
	return len(before.marks) != len(l.proven.marks) || !l.findings.Evidence.ReadsAlike(old.Conventions, resolved), nil
}

// resolve finds the conventions that hold by what a reading has shown, and reports whether the file
// is to be read again by them.
func (l *load) resolve(signColumn string) (again bool, err error) {
	found := l.findings
	resolved := l.request.Rules.Resolve(&l.proven.conventions, &found.Evidence)
	again = !found.Evidence.ReadsAlike(l.reading.Conventions, resolved)
	if l.reading.Conventions = resolved; again {
		return true, nil
	}
	l.result.Hints, l.result.Warnings = found.Hints(), found.Warnings(resolved, signColumn)
	_, err = l.reading.Currencies.Narrow(found.Marks)
	return false, l.about(err)
}

// about names the file in an error about it.
func (l *load) about(err error) error {
	if bad, ok := errors.AsType[*extract.FileError](err); ok && bad.Path == "" {
		bad.Path = l.path
	}
	return err
}

// learn records what the file has proven.
func (l *load) learn(ctx context.Context) error {
	statement := l.loader.statements.Get("learn")
	marks := l.findings.Marks
	if l.result.Loaded == 0 {
		marks = nil // none of them is stored
	}
	for mark, seen := range marks {
		if err := l.exec(ctx, statement, "", currencyConvention, mark, l.fileID, seen.Line); err != nil {
			return err
		}
	}
	if !l.request.Learns {
		return nil
	}
	for proof, line := range l.findings.Evidence.Proofs() {
		if err := l.exec(ctx, statement, l.request.Source, proof.Convention.String(), proof.Name(), l.fileID, line); err != nil {
			return err
		}
	}
	return nil
}
