package load

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/extsort"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/seal"
	"github.com/opentax/tally/pipeline/transform"
	"github.com/opentax/tally/summaries"
)

const (
	asWriter = "SET LOCAL tally.writer = 'tally'"
	noJIT    = "SET LOCAL jit = off"
)

// begin starts anew with the one transaction that all of the file appears in.
func (l *load) begin(ctx context.Context) (err error) {
	l.rollback(ctx)
	if l.helper, err = l.loader.pool.Acquire(ctx); err != nil {
		return err
	}
	if l.tx, err = l.loader.pool.Begin(ctx); err != nil {
		return err
	}
	limits := l.loader.limits
	l.valid, l.accepted, l.duplicates = extsort.New(ctx, byID(), limits), extsort.New(ctx, byPlace(), limits), extsort.New(ctx, byLine(), limits)
	l.rejects, l.openIn = seal.NewRejectsDigest(), nil
	l.retired = 0
	l.deltas, l.months, l.staged = summaries.NewDeltas(ctx), map[civil.Month]int64{}, nil
	if err := l.exec(ctx, asWriter+"; "+noJIT); err != nil {
		return err
	}
	return l.tx.QueryRow(ctx, "SELECT nextval('etl_files_id_seq'), pg_backend_pid(), tally_distributed()").Scan(&l.fileID, &l.pid, &l.distributed)
}

// rollback gives back what begin made, also after the commit.
func (l *load) rollback(ctx context.Context) {
	_ = l.endLookup(ctx) // whether the load has failed is known by now
	if l.deltas != nil {
		l.forget()
	}
	if l.tx != nil {
		_ = l.tx.Rollback(ctx) // a connection that cannot is closed
		l.tx = nil
	}
	if l.helper != nil {
		l.helper.Release()
		l.helper = nil
	}
}

// forget releases the rows.
func (l *load) forget() {
	l.valid.Close()
	l.accepted.Close()
	l.duplicates.Close()
	l.deltas.Close()
	l.deltas = nil
}

// record writes what appears with the rows: the ledger entry, and partitions that were
// filled beside the table.
func (l *load) record(ctx context.Context) error {
	l.result.Status = StatusLoaded
	l.enter(ctx, pipeline.StageCommit)
	if err := l.recordFile(ctx); err != nil {
		return err
	}
	if err := l.seal(ctx); err != nil {
		return err
	}
	if err := l.recordOpen(ctx); err != nil {
		return err
	}
	if err := l.learn(ctx); err != nil {
		return err
	}
	if err := l.attach(ctx); err != nil {
		return err
	}
	return l.fence(ctx)
}

// fail records why nothing of the file is loaded. Of a file over its reject limit the
// first rejected rows are kept to be looked at.
func (l *load) fail(ctx context.Context) error {
	if err := l.begin(ctx); err != nil {
		return err
	}
	cause := l.cause
	limit := cause.Code == CodeRejectLimit
	if !limit {
		read := l.result.Read
		l.startOver()
		l.result.Read = read
	}
	if limit {
		if err := l.keepFirstRejects(ctx, cause); err != nil {
			return err
		}
	}
	l.result.Status, l.result.ErrorCode, l.result.Error = StatusFailed, cause.Code, cause.Error()
	if err := l.recordFile(ctx); err != nil {
		return err
	}
	return l.fence(ctx)
}

// recordFile writes the ledger entry.
func (l *load) recordFile(ctx context.Context) error {
	r, req := &l.result, &l.request
	r.FileID = l.fileID
	rules, err := req.rules()
	if err != nil {
		return err
	}
	faults, err := json.Marshal(r.Faults)
	if err != nil {
		return fmt.Errorf("faults: %w", err)
	}
	record := transform.ConventionRecord{}
	if l.findings != nil {
		record = l.findings.Evidence.Record(l.reading.Conventions)
	}
	conventions, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("conventions: %w", err)
	}
	var first, last *civil.Date // months of the stored rows
	if months := slices.Sorted(maps.Keys(l.months)); len(months) > 0 {
		from, to := months[0].First(), months[len(months)-1].First()
		first, last = &from, &to
	}
	var sha []byte
	if r.SHA256 != "" {
		sha = l.identity.SHA256[:]
	}
	if err := l.observe(ctx, l.tx); err != nil {
		return err
	}
	return l.exec(ctx, l.loader.statements.Get("file"), l.fileID, req.RunID, req.Attempt, req.Source, l.path, sha, r.Bytes, r.Status,
		nullText(r.ErrorCode), nullText(r.Error), r.Read, r.Loaded, r.Duplicate, r.Conflict, r.Rejected, r.Replaced,
		string(faults), r.TotalAmount.String(), rules, req.CodeVersion, l.started,
		transform.Version, string(conventions), r.Hints, r.Warnings, l.arrivedAs, nullText(string(l.layout)), first, last)
}

// seal appends the load to the audit chain.
func (l *load) seal(ctx context.Context) error {
	r := &l.result
	e := seal.Entry{
		Kind: seal.Load, RunID: l.request.RunID, FileID: l.fileID, Path: l.path, SHA256: r.SHA256,
		Read: r.Read, Loaded: r.Loaded, Duplicate: r.Duplicate, Conflict: r.Conflict, Rejected: r.Rejected, Replaced: r.Replaced,
		Digest: l.rejects.String(),
	}
	e.Rows, e.Amount = l.deltas.Net()
	reading, err := l.sealedReading(nil)
	if err != nil {
		return err
	}
	e.Readings = []seal.Reading{reading}
	_, err = seal.Append(ctx, l.tx, e)
	return err
}

// sealedReading is how rows were read, for the audit chain; those that were read again have
// their fixes.
func (l *load) sealedReading(again []openRow) (r seal.Reading, err error) {
	r = seal.Reading{FileID: l.fileID, Version: transform.Version, Conventions: l.reading.Conventions.Names(), LogicalDate: l.request.LogicalDate.String()}
	if r.Rules, err = json.Marshal(l.request.Rules); err != nil {
		return r, fmt.Errorf("rules: %w", err)
	}
	for _, o := range again {
		if o.fix == (transform.Fix{}) {
			continue
		}
		if r.Fixes == nil {
			r.Fixes = map[int64]json.RawMessage{}
		}
		if r.Fixes[o.line], err = json.Marshal(o.fix); err != nil {
			return r, fmt.Errorf("fix of line %d: %w", o.line, err)
		}
	}
	return r, nil
}

// fence makes sure that this attempt may commit. The lock that it takes is what a
// new attempt waits for, so it comes last.
func (l *load) fence(ctx context.Context) error {
	var last int
	if err := l.tx.QueryRow(ctx, l.loader.statements.Get("fence"), l.request.RunID).Scan(&last); err != nil {
		return fmt.Errorf("fence run %d: %w", l.request.RunID, err)
	}
	if last != l.request.Attempt {
		return fmt.Errorf("run %d, attempt %d: %w", l.request.RunID, l.request.Attempt, ErrFenced)
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
