package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/extsort"
	"github.com/opentax/tally/summaries"
)

// load is the one transaction of one file.
type load struct {
	*attempt
	tx     pgx.Tx
	helper *pgx.Conn // for what is no part of the transaction
	result *Result
	fileID int64

	valid    *extsort.Sorter // packed rows by id, from which the first of each id is chosen
	winners  *extsort.Sorter // packed rows to be stored, by partition and primary key
	repeats  *extsort.Sorter // rows whose id came before, by line
	deltas   *summaries.Deltas
	months   months // of the rows to be stored
	detached []detached
	known    *known // while the helper is at work
	scratch  []byte
	stage    string
	entered  time.Time // the stage
}

func newLoad(ctx context.Context, a *attempt, tx pgx.Tx, helper *pgx.Conn, result *Result) *load {
	return &load{
		attempt: a, tx: tx, helper: helper, result: result,
		valid: extsort.New(ctx, byID(), a.limits), winners: extsort.New(ctx, byPlace(), a.limits), repeats: extsort.New(ctx, byLine(), a.limits),
		deltas: summaries.NewDeltas(ctx),
	}
}

// close gives the memory and the temporary files back.
func (l *load) close(ctx context.Context) {
	_ = l.releaseHelper(ctx) // whether the load has failed is known by now
	l.valid.Close()
	l.winners.Close()
	l.repeats.Close()
	l.deltas.Close()
}

// releaseHelper ends what the helper is doing.
func (l *load) releaseHelper(ctx context.Context) error {
	if l.known == nil {
		return nil
	}
	k := l.known
	l.known = nil
	return k.close(ctx)
}

// run does everything but the commit.
func (l *load) run(ctx context.Context) error {
	if err := l.prepare(ctx); err != nil {
		return err
	}
	if err := l.read(ctx); err != nil {
		return err
	}
	if err := l.exec(ctx, "SELECT pg_advisory_xact_lock($1)", int64(loadLockKey)); err != nil {
		return err
	}
	if known, err := l.knownContent(ctx, l.tx, l.result); known || err != nil {
		return err
	}
	if err := l.decide(ctx); err != nil {
		return err
	}
	if err := l.write(ctx); err != nil {
		return err
	}
	l.result.Status = StatusLoaded
	l.enter(ctx, StageCommit)
	if err := l.record(ctx); err != nil {
		return err
	}
	if err := l.attach(ctx); err != nil {
		return err
	}
	return l.fence(ctx)
}

const (
	asWriter = "SET LOCAL tally.writer = 'tally'"
	noJIT    = "SET LOCAL jit = off"
)

func (l *load) prepare(ctx context.Context) error {
	if err := l.exec(ctx, asWriter+"; "+noJIT); err != nil {
		return err
	}
	return l.tx.QueryRow(ctx, "SELECT nextval('etl_files_id_seq')").Scan(&l.fileID)
}

// changedInstead holds what was read against the first pass. A file that
// changed in between explains any other error, so it takes its place.
func (l *load) changedInstead(file *File, err error) error {
	if _, bad := errors.AsType[*FileError](err); err != nil && !bad {
		return err
	}
	if err != nil {
		if _, drainErr := io.Copy(io.Discard, file); SourceAway(drainErr) {
			return drainErr // whether the file changed is not known yet
		} else if drainErr != nil {
			return err
		}
	}
	if file.Identity() == l.identity {
		return err
	}
	return &FileError{Path: l.Path.String(), Code: CodeFileChanged, Detail: "the file changed while it was read",
		Hint: "write it under another name and rename it when it is complete"}
}

// record writes the ledger entry.
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
	err = l.exec(ctx, l.statements.Get("file"), l.fileID, l.RunID, l.Attempt, l.Source, l.Path.String(), sha, r.Bytes, r.Status,
		nullText(r.ErrorCode), nullText(r.Error), r.Read, r.Loaded, r.Duplicate, r.Conflict, r.Rejected, r.Replaced,
		string(faults), r.TotalAmount.String(), rules, l.CodeVersion, l.started)
	return err
}

// fence makes sure that this attempt may commit. The lock that it takes is what a
// new attempt waits for, so it comes last.
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

func (l *load) exec(ctx context.Context, sql string, args ...any) error {
	_, err := l.tx.Exec(ctx, sql, args...)
	return err
}

func nullText(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
