package load

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/reject"
	"github.com/opentax/tally/pipeline/extract"
	"github.com/opentax/tally/pipeline/seal"
	"github.com/opentax/tally/pipeline/transform"
)

// Settings are the present settings of a file's source, and whether its files have
// conventions in common. The file was loaded under the given ones.
type Settings func(source string, loaded transform.Rules) (rules transform.Rules, learns bool)

// Replay reads rejected rows again, by the settings of today and what is known of their
// source by now, and loads those that pass, in one commit. Rows that are no longer open are
// left out, so a replay that is repeated changes nothing more.
func (l *Loader) Replay(ctx context.Context, ids []reject.ID, settings Settings, by audit.By, dryRun bool) (reject.ReplayResult, error) {
	result := reject.ReplayResult{Warnings: []string{}}
	err := l.change(ctx, seal.Replay, by, dryRun, func(c *change) (bool, error) {
		r := replay{change: c, settings: settings, result: &result, state: reject.StateReplayed, from: []string{reject.OutcomeRejected}}
		err := r.run(ctx, ids)
		return r.noted > 0, err
	})
	return result, err
}

// replay reads rejects again as a part of a change.
type replay struct {
	*change
	settings Settings
	result   *reject.ReplayResult
	state    string   // of the rows that are loaded or repeat others
	from     []string // outcomes of the rows that are read
	takes    bool     // they take the place of stored rows
	losers   bool     // they had lost against rows that were taken out
	fix      transform.Fix
	repeats  bool             // the last row had the values of fix already
	faults   transform.Faults // of the last row that does not pass
	noted    int
}

// reread is a file whose rejects are read again.
type reread struct {
	id, arrivedAs int64
	source, path  string
	layout        string
	conventions   []byte
	rules         []byte // under which it was loaded
	logical       civil.Date
	lines         []int64
	rows          []openRow
	part          *load
	reader        *extract.RowReader
	held          transform.Conventions
	evidence      transform.Evidence
}

// openRow is the text of a row that is read again.
type openRow struct {
	line, length int64
	raw          []byte
	fix          transform.Fix // that a person gave it, now or in an earlier change
}

func (r *replay) run(ctx context.Context, ids []reject.ID) error {
	lines := map[int64][]int64{}
	files, all := split(ids)
	for i, file := range files {
		lines[file] = append(lines[file], all[i])
	}
	list, err := r.files(ctx, files)
	if err != nil {
		return err
	}
	for _, f := range list {
		f.lines = lines[f.id]
		if err := r.file(ctx, f); err != nil {
			return fmt.Errorf("file %d (%s): %w", f.id, f.path, err)
		}
	}
	return nil
}

// files are those that are loaded, in the order of their ids.
func (r *replay) files(ctx context.Context, files []int64) ([]*reread, error) {
	rows, _ := r.tx.Query(ctx, r.loader.statements.Get("open_rejects"), files) // CollectRows returns its error
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*reread, error) {
		var f reread
		return &f, row.Scan(&f.id, &f.source, &f.path, &f.layout, &f.conventions, &f.rules, (*int32)(&f.logical), &f.arrivedAs)
	})
	if err != nil {
		return nil, fmt.Errorf("look up the files of the rejects: %w", err)
	}
	return list, nil
}

// file reads the rejects of a file again.
func (r *replay) file(ctx context.Context, f *reread) error {
	if err := r.open(ctx, f); err != nil || len(f.rows) == 0 {
		return err
	}
	r.result.Read += int64(len(f.rows))
	var valid []int64
	err := r.prepare(ctx, f)
	if err == nil {
		valid, err = r.clean(f)
	}
	if bad, ok := errors.AsType[*extract.FileError](err); ok {
		r.result.Rejected += int64(len(f.rows))
		r.result.Warnings = append(r.result.Warnings, fmt.Sprintf("file %d (%s): %s", f.id, f.path, bad))
		return nil
	}
	if err != nil {
		return err
	}
	r.result.Rejected += int64(len(f.rows) - len(valid))
	if len(valid) == 0 && !r.losers {
		return nil
	}
	if err := r.store(ctx, f.part); err != nil {
		return err
	}
	states, err := r.states(f, valid)
	if err != nil {
		return err
	}
	if r.losers {
		states = r.reopen(f, valid, states)
	}
	if err := r.note(ctx, states); err != nil {
		return err
	}
	reading, err := f.part.sealedReading(f.rows)
	if err != nil {
		return err
	}
	r.entry.Readings = append(r.entry.Readings, reading)
	r.noted += len(states)
	return f.part.learn(ctx)
}

// open reads the texts of the rows, and the values that persons have corrected before.
func (r *replay) open(ctx context.Context, f *reread) error {
	rows, err := r.tx.Query(ctx, r.loader.statements.Get("open_rows"), f.id, f.lines, r.from, r.losers)
	if err != nil {
		return err
	}
	var changes []int64
	f.rows, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (o openRow, err error) {
		var change int64
		if err = row.Scan(&o.line, &o.raw, &o.length, &change); change > 0 {
			changes = append(changes, change)
		}
		return o, err
	})
	if err != nil {
		return err
	}
	fixes, err := r.fixes(ctx, changes)
	for i := range f.rows {
		o := &f.rows[i]
		before := fixes[reject.ID{FileID: f.id, Line: o.line}]
		o.fix = r.fix.Over(before)
		r.repeats = o.fix == before
	}
	return err
}

// fixes are the values that persons gave rows which changes have read. Each change that reads
// a row again seals them again, so those of the row's last change hold.
func (c *change) fixes(ctx context.Context, changes []int64) (map[reject.ID]transform.Fix, error) {
	slices.Sort(changes)
	if changes = slices.Compact(changes); len(changes) == 0 {
		return nil, nil
	}
	rows, _ := c.tx.Query(ctx, c.loader.statements.Get("fixes"), changes) // ForEachRow returns its error
	fixes := map[reject.ID]transform.Fix{}
	var id reject.ID
	var text []byte
	_, err := pgx.ForEachRow(rows, []any{&id.FileID, &id.Line, &text}, func() error {
		var fix transform.Fix
		err := json.Unmarshal(text, &fix)
		fixes[id] = fix
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look up corrected values: %w", err)
	}
	return fixes, nil
}

// prepare makes the reader of a file's rows, and the part of the change that they go into.
func (r *replay) prepare(ctx context.Context, f *reread) error {
	if f.layout == "" {
		return &extract.FileError{Code: extract.CodeUnreadable, Detail: "it was loaded by an earlier version, which did not keep how its rows are cut into columns",
			Hint: "revert the file, and load it again"}
	}
	var layout extract.Layout
	if err := json.Unmarshal([]byte(f.layout), &layout); err != nil {
		return fmt.Errorf("layout: %w", err)
	}
	var loaded transform.Rules
	if err := json.Unmarshal(f.rules, &loaded); err != nil {
		return fmt.Errorf("rules: %w", err)
	}
	rules, learns := r.settings(f.source, loaded)
	if err := rules.Check(); err != nil {
		return err
	}
	var err error
	if f.reader, err = layout.Reader(rules.Dialect, rules.Wanted()); err != nil {
		return err
	}
	location, err := bucket.Parse(f.path)
	if err != nil {
		location = bucket.Path(f.path)
	}
	f.part = r.part(ctx, Request{Source: f.source, Path: location, Rules: rules, LogicalDate: f.logical, Learns: learns,
		Logger: slog.New(slog.DiscardHandler)}, f.id)
	f.part.arrival, f.part.takes = arrival{file: f.arrivedAs, date: f.logical}, r.takes
	var record transform.ConventionRecord
	if err := json.Unmarshal(f.conventions, &record); err != nil {
		return fmt.Errorf("conventions: %w", err)
	}
	_, f.evidence = record.Load()
	if err := f.part.prepare(ctx, r.tx); err != nil {
		return err
	}
	f.held = rules.Resolve(&f.part.proven.conventions, &f.evidence)
	return nil
}

// clean reads the rows, and gives the lines of those that pass. What they show of the file's
// conventions counts beside what the file has shown.
func (r *replay) clean(f *reread) (valid []int64, err error) {
	for {
		f.part.reading.Conventions = f.held
		cleaner, err := transform.NewCleaner(f.part.reading)
		if err != nil {
			return nil, err
		}
		var packed [][]byte
		if packed, valid, err = r.cleanRows(f, cleaner); err != nil {
			return nil, err
		}
		f.part.findings = cleaner.Findings()
		all := f.evidence.Plus(&f.part.findings.Evidence)
		resolved := f.part.request.Rules.Resolve(&f.part.proven.conventions, &all)
		if again := !all.ReadsAlike(f.held, resolved); again {
			f.held = resolved
			continue
		}
		for _, p := range packed {
			if err := f.part.valid.Add(p); err != nil {
				return nil, err
			}
		}
		_, err = f.part.reading.Currencies.Narrow(f.part.findings.Marks)
		return valid, err
	}
}

func (r *replay) cleanRows(f *reread, cleaner *transform.Cleaner) (packed [][]byte, valid []int64, err error) {
	var row transform.Row
	for _, o := range f.rows {
		if int64(len(o.raw)) < o.length {
			continue // its text was cut
		}
		record, err := f.reader.Read(o.raw, o.line)
		if err != nil {
			return nil, nil, err
		}
		cleaner.CleanFixed(record, &row, o.fix)
		if row.Faults != 0 {
			r.faults = row.Faults
		} else {
			packed, valid = append(packed, appendPacked(nil, &row)), append(valid, o.line)
		}
	}
	return packed, valid, nil
}

// states is what became of the rows that passed.
func (r *replay) states(f *reread, valid []int64) ([]rejectState, error) {
	lost := map[int64]rejectState{}
	duplicates, err := f.part.duplicates.Sorted()
	if err != nil {
		return nil, err
	}
	for {
		d, err := duplicates.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		at := func(i int) int64 { return int64(binary.LittleEndian.Uint64(d[i:])) }
		s := rejectState{state: r.state, outcome: reject.OutcomeDuplicate, keptFile: at(duplicateFile), keptLine: at(duplicateKept)}
		switch d[duplicateOutcome] {
		case isConflict:
			s.state, s.outcome = reject.StateOpen, reject.OutcomeConflict
		case isOrphan, isRetired:
			s.state, s.outcome = reject.StateOpen, reject.OutcomeRejected
			fault, _ := f.part.faultOf(d[duplicateOutcome], nil)
			r.faults = transform.Faults(0).With(fault)
		}
		lost[at(duplicateLine)] = s
	}
	states := make([]rejectState, 0, len(valid))
	for _, line := range valid {
		s, ok := lost[line]
		if s.outcome == reject.OutcomeRejected { // it stays as it was
			r.result.Rejected++
			continue
		}
		if !ok {
			s = rejectState{state: r.state, outcome: reject.OutcomeLoaded}
		}
		s.file, s.line, s.change = f.id, line, r.entry.Number
		r.count(s.outcome)
		states = append(states, s)
	}
	return states, nil
}

// reopen adds the rows that do not pass: what they had lost against is gone. The digest of a
// change has them in the order of their lines.
func (r *replay) reopen(f *reread, valid []int64, states []rejectState) []rejectState {
	for _, o := range f.rows {
		if _, passed := slices.BinarySearch(valid, o.line); !passed {
			states = append(states, rejectState{file: f.id, line: o.line, change: r.entry.Number, state: reject.StateOpen, outcome: reject.OutcomeRejected})
		}
	}
	slices.SortFunc(states, func(a, b rejectState) int { return cmp.Compare(a.line, b.line) })
	return states
}

func (r *replay) count(outcome string) {
	switch outcome {
	case reject.OutcomeLoaded:
		r.result.Loaded++
	case reject.OutcomeDuplicate:
		r.result.Duplicate++
	default:
		r.result.Conflict++
	}
}
