package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/summaries"
)

// load is the one transaction of one file.
type load struct {
	*attempt
	tx     pgx.Tx
	result *Result
	fileID int64
}

// run does everything but the commit.
func (l *load) run(ctx context.Context) error {
	if err := l.prepare(ctx); err != nil {
		return err
	}
	reader, err := l.stage(ctx)
	if err != nil {
		return err
	}
	if err := l.exec(ctx, "SELECT pg_advisory_xact_lock($1)", int64(loadLockKey)); err != nil {
		return err
	}
	if known, err := l.knownContent(ctx, l.tx, l.result); known || err != nil {
		return err
	}
	if err := l.count(ctx, reader); err != nil {
		return err
	}
	if l.Rules.Exceeded(l.result.Rejected, l.result.Read) {
		return l.refuse(ctx)
	}
	if err := l.write(ctx); err != nil {
		return err
	}
	l.result.Status = StatusLoaded
	return l.record(ctx)
}

func (l *load) prepare(ctx context.Context) error {
	// The sorts of a load fit in memory up to about a million rows; above, they
	// spill to disk and are a little slower.
	const settings = `SET LOCAL tally.writer = 'tally'; SET LOCAL work_mem = '128MB'`
	if err := l.exec(ctx, settings); err != nil {
		return err
	}
	if err := l.exec(ctx, l.statements.Get("stage")); err != nil {
		return err
	}
	return l.nextFileID(ctx)
}

func (l *load) nextFileID(ctx context.Context) error {
	return l.tx.QueryRow(ctx, "SELECT nextval('etl_files_id_seq')").Scan(&l.fileID)
}

// stage copies the file into the temporary table, row by row as they are read.
func (l *load) stage(ctx context.Context) (reader *Reader, err error) {
	file, err := OpenFile(l.Path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if reader, err = NewReader(file, l.Rules); err != nil {
		return nil, l.changedInstead(file, err)
	}
	rows := &stageRows{reader: reader, report: func(n int64) { l.progress("read", file, n) }}
	columns := []string{"line", "transaction_id", "user_id", "amount", "transaction_date", "ambiguous", "faults", "raw", "raw_bytes", "raw_length"}
	l.result.Read, err = l.tx.CopyFrom(ctx, pgx.Identifier{"load_stage"}, columns, rows)
	if rows.err != nil { // what the reader said, and not COPY's word for it
		return nil, l.changedInstead(file, rows.err)
	}
	if err != nil {
		return nil, fmt.Errorf("copy to the stage: %w", err)
	}
	if err := l.changedInstead(file, nil); err != nil {
		return nil, err
	}
	l.progress("load", file, l.result.Read)
	return reader, l.exec(ctx, "ANALYZE load_stage")
}

// changedInstead holds what was read against the first pass. A file that
// changed in between explains any other error, so it takes its place.
func (l *load) changedInstead(file *File, err error) error {
	if _, bad := errors.AsType[*FileError](err); err != nil && !bad {
		return err
	}
	if err != nil {
		if _, drainErr := io.Copy(io.Discard, file); drainErr != nil {
			return err
		}
	}
	if file.Identity() == l.identity {
		return err
	}
	return &FileError{Path: l.Path, Code: CodeFileChanged, Detail: "the file changed while it was read",
		Hint: "write it under another name and rename it when it is complete"}
}

// count applies what only the whole file can tell, and counts.
func (l *load) count(ctx context.Context, reader *Reader) error {
	for _, sep := range []byte{'/', '-', '.'} {
		if !reader.Contradicted(sep) {
			continue
		}
		l.Logger.WarnContext(ctx, "the file's own dates contradict the date rule; its ambiguous dates are rejected",
			"path", l.Path, "separator", string(sep))
		if err := l.exec(ctx, l.statements.Get("refuse_ambiguous"), int32(Faults(0).With(FaultAmbiguousDate)), int32(sep)); err != nil {
			return err
		}
	}
	if err := l.tx.QueryRow(ctx, l.statements.Get("count")).Scan(&l.result.Read, &l.result.Rejected); err != nil {
		return fmt.Errorf("count: %w", err)
	}
	rows, err := l.tx.Query(ctx, l.statements.Get("faults"))
	if err != nil {
		return fmt.Errorf("count faults: %w", err)
	}
	var bit int32
	var n int64
	_, err = pgx.ForEachRow(rows, []any{&bit, &n}, func() error {
		l.result.Faults[Faults(bit).First().String()] = n
		return nil
	})
	return err
}

// failedRejects bounds the rows that are kept of a failed file. The file itself
// is still there, and each try would keep them all again.
const failedRejects = 1000

// refuse ends a file over its reject limit: nothing is loaded, the first rejected
// rows are kept to be looked at.
func (l *load) refuse(ctx context.Context) error {
	cause := &FileError{Path: l.Path, Code: CodeRejectLimit,
		Detail: fmt.Sprintf("%d of %d rows rejected, over the limit of %s", l.result.Rejected, l.result.Read, l.Rules.WithDefaults().RejectLimit),
		Hint:   "mend the file, or raise the source's reject_limit"}
	l.result.Status, l.result.ErrorCode, l.result.Error = StatusFailed, cause.Code, cause.Error()
	if err := l.exec(ctx, l.statements.Get("keep_rejected"), l.fileID, faultNames(), failedRejects); err != nil {
		return err
	}
	return l.record(ctx)
}

// write moves the valid rows from the stage to where they belong.
func (l *load) write(ctx context.Context) error {
	replace := l.Rules.WithDefaults().Corrections == CorrectionsReplace
	if err := l.exec(ctx, l.statements.Get("winners"), replace); err != nil {
		return err
	}
	if err := l.exec(ctx, "ANALYZE load_winners"); err != nil {
		return err
	}
	if err := l.refuseOrphanKeys(ctx); err != nil {
		return err
	}
	if err := l.execAll(ctx, "partitions", "keys"); err != nil {
		return err
	}
	if replace {
		if err := l.exec(ctx, l.statements.Get("keep_version"), l.fileID); err != nil {
			return err
		}
		if err := l.execAll(ctx, "take_out", "move_keys"); err != nil {
			return err
		}
	}
	if err := l.exec(ctx, l.statements.Get("rows"), l.fileID); err != nil {
		return err
	}
	changes := summaries.Changes{Relation: l.statements.Get("changes"), Removals: replace, FileID: l.fileID}
	if err := summaries.Refresh(ctx, l.tx, changes); err != nil {
		return err
	}
	return l.keepRejects(ctx)
}

// refuseOrphanKeys stops where the key table and the rows do not agree: a row
// cannot be told duplicate from conflict then.
func (l *load) refuseOrphanKeys(ctx context.Context) error {
	var id string
	err := l.tx.QueryRow(ctx, l.statements.Get("orphan_keys")).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for keys without rows: %w", err)
	}
	return fmt.Errorf("transaction_keys has %s, and transactions does not: the tables were written by hand; run tally verify", id)
}

func (l *load) keepRejects(ctx context.Context) error {
	if err := l.exec(ctx, l.statements.Get("keep_rejected"), l.fileID, faultNames(), nil); err != nil {
		return err
	}
	if err := l.exec(ctx, l.statements.Get("keep_repeated"), l.fileID); err != nil {
		return err
	}
	r := l.result
	err := l.tx.QueryRow(ctx, l.statements.Get("repeated"), l.fileID).Scan(&r.Duplicate, &r.Conflict)
	if err != nil {
		return fmt.Errorf("count repeated rows: %w", err)
	}
	var total string
	err = l.tx.QueryRow(ctx, l.statements.Get("loaded")).Scan(&r.Loaded, &r.Replaced, &r.Users, &total)
	if err != nil {
		return fmt.Errorf("count loaded rows: %w", err)
	}
	r.TotalAmount = json.Number(total)
	return nil
}

// record writes the ledger entry and makes sure that this attempt may commit.
func (l *load) record(ctx context.Context) error {
	r := l.result
	r.FileID = l.fileID
	rules, err := l.rulesJSON()
	if err != nil {
		return fmt.Errorf("rules: %w", err)
	}
	faults, err := json.Marshal(r.Faults)
	if err != nil {
		return fmt.Errorf("faults: %w", err)
	}
	var sha []byte
	if r.SHA256 != "" {
		sha = l.identity.SHA256[:]
	}
	err = l.exec(ctx, l.statements.Get("file"), l.fileID, l.RunID, l.Attempt, l.Source, l.Path, sha, r.Bytes, r.Status,
		nullText(r.ErrorCode), nullText(r.Error), r.Read, r.Loaded, r.Duplicate, r.Conflict, r.Rejected, r.Replaced,
		string(faults), r.TotalAmount.String(), rules, l.CodeVersion, l.started)
	if err != nil {
		return err
	}
	return l.fence(ctx)
}

func (l *load) fence(ctx context.Context) error {
	var last int
	if err := l.tx.QueryRow(ctx, l.statements.Get("fence"), l.RunID).Scan(&last); err != nil {
		return fmt.Errorf("fence run %d: %w", l.RunID, err)
	}
	if last != l.Attempt {
		return fmt.Errorf("run %d, attempt %d: %w", l.RunID, l.Attempt, ErrFenced)
	}
	return nil
}

func (l *load) execAll(ctx context.Context, names ...string) error {
	for _, name := range names {
		if err := l.exec(ctx, l.statements.Get(name)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (l *load) exec(ctx context.Context, sql string, args ...any) error {
	_, err := l.tx.Exec(ctx, sql, args...)
	return err
}

// faultNames lists every fault's name at the place of its number.
func faultNames() []string {
	var names []string
	for f := Fault(1); f < faultEnd; f++ {
		names = append(names, f.String())
	}
	return names
}

func nullText(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// stageRows is the reader as COPY takes it.
type stageRows struct {
	reader *Reader
	row    Row
	n      int64
	report func(rows int64)
	err    error
	values [10]any
}

func (s *stageRows) Next() bool {
	if err := s.reader.Next(&s.row); err != nil {
		if !errors.Is(err, io.EOF) {
			s.err = err
		}
		return false
	}
	if s.n++; s.n&1023 == 0 {
		s.report(s.n)
	}
	return true
}

func (s *stageRows) Err() error { return s.err }

func (s *stageRows) Values() ([]any, error) {
	r := &s.row
	text, exact := storable(r.Raw)
	s.values = [10]any{r.Line, nil, nil, nil, nil, int32(r.Ambiguous), int32(r.Faults), text, exact, r.RawLength}
	if id, _ := storable([]byte(r.TransactionID)); id != "" {
		s.values[1] = id
	}
	if r.Faults == 0 {
		s.values[2], s.values[3], s.values[4] = r.UserID, r.Amount.Float64(), r.Date.Time()
	}
	return s.values[:], nil
}

// storable is raw as PostgreSQL's text can hold it, and raw itself where that is
// not the same: text has no NUL byte and nothing but UTF-8.
func storable(raw []byte) (text string, exact []byte) {
	if utf8.Valid(raw) && bytes.IndexByte(raw, 0) < 0 {
		return string(raw), nil
	}
	return postgres.Text(string(raw)), raw
}
