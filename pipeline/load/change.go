package load

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/extsort"
	"github.com/opentax/tally/internal/pgcopy"
	"github.com/opentax/tally/internal/reject"
	"github.com/opentax/tally/pipeline/seal"
	"github.com/opentax/tally/summaries"
)

// change is a commit that changes what was loaded: one transaction under the load lock,
// which several files may have a part in.
type change struct {
	loader *Loader
	helper *pgxpool.Conn
	tx     pgx.Tx
	pid    int32 // of its server process
	entry  seal.Entry
	digest seal.RejectsDigest
	parts  []*load

	distributed bool // of its loads
}

// change begins one, does it, and seals and commits it unless it is a dry run or do says
// that there is nothing to commit.
func (l *Loader) change(ctx context.Context, kind seal.Kind, by audit.By, dryRun bool, do func(*change) (bool, error)) (err error) {
	c := &change{loader: l, entry: seal.Entry{Kind: kind, Actor: by.Actor, Reason: by.Reason}, digest: seal.NewRejectsDigest()}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %w", kind, err)
		}
	}()
	select {
	case l.turns <- struct{}{}:
		defer func() { <-l.turns }()
	case <-ctx.Done():
		return ctx.Err()
	}
	defer c.close(ctx)
	if err := c.begin(ctx); err != nil {
		return err
	}
	changed, err := do(c)
	if err != nil || dryRun || !changed {
		return err
	}
	if c.entry.Digest == "" {
		c.entry.Digest = c.digest.String()
	}
	if _, err := seal.Append(ctx, c.tx, c.entry); err != nil {
		return err
	}
	return c.tx.Commit(ctx)
}

func (c *change) begin(ctx context.Context) (err error) {
	if c.entry.Kind != seal.Retire && c.entry.Kind != seal.Expire { // these load no rows
		if c.helper, err = c.loader.pool.Acquire(ctx); err != nil {
			return err
		}
	}
	if c.tx, err = c.loader.pool.Begin(ctx); err != nil {
		return err
	}
	if _, err = c.tx.Exec(ctx, asWriter+"; "+noJIT); err != nil {
		return err
	}
	switch c.entry.Kind {
	case seal.Retire:
		err = c.exec(ctx, c.loader.statements.Get("lock_retired"))
	case seal.Expire:
		err = c.exec(ctx, "SELECT pg_advisory_xact_lock($1::int4, 0)", ExpireLockClass)
	}
	if err != nil {
		return err
	}
	if _, err = c.tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", summaries.LoadLock); err != nil {
		return err
	}
	if err = c.tx.QueryRow(ctx, "SELECT pg_backend_pid(), tally_distributed()").Scan(&c.pid, &c.distributed); err != nil {
		return err
	}
	c.entry.Number, err = seal.Next(ctx, c.tx)
	return err
}

// close gives back what begin took, also after the commit.
func (c *change) close(ctx context.Context) {
	for _, part := range c.parts {
		part.forget()
	}
	if c.tx != nil {
		_ = c.tx.Rollback(ctx) // a connection that cannot is closed
	}
	if c.helper != nil {
		c.helper.Release()
	}
}

// part is a load whose rows belong to a file that is in the ledger.
func (c *change) part(ctx context.Context, request Request, file int64) *load {
	limits := c.loader.limits
	part := &load{
		loader: c.loader, request: request, path: request.Path.String(), tx: c.tx, pid: c.pid, helper: c.helper, fileID: file, distributed: c.distributed, inChange: true,
		valid: extsort.New(ctx, byID(), limits), accepted: extsort.New(ctx, byPlace(), limits), duplicates: extsort.New(ctx, byLine(), limits),
		deltas: summaries.NewDeltas(ctx), months: map[civil.Month]int64{},
	}
	part.startOver()
	c.parts = append(c.parts, part)
	return part
}

// store decides which of a part's rows are stored, and stores them with the rollups.
func (c *change) store(ctx context.Context, part *load) error {
	if err := part.decide(ctx); err != nil {
		return err
	}
	if err := part.place(ctx); err != nil {
		return err
	}
	rows, amount := part.deltas.Net()
	c.entry.Rows, c.entry.Amount = c.entry.Rows+rows, c.entry.Amount.Plus(amount)
	return nil
}

// rejectState is a row of etl_reject_states.
type rejectState struct {
	file, line, change int64
	state, outcome     string
	keptFile, keptLine int64 // 0: none
}

// note records what became of rejects, and where rows of transactions come from that are
// loaded now.
func (c *change) note(ctx context.Context, states []rejectState) error {
	columns := []string{"file_id", "line", "change", "state", "outcome", "kept_file_id", "kept_line"}
	_, err := pgcopy.Copy(ctx, c.tx.Conn(), "etl_reject_states", columns, func(w *pgcopy.Writer) error {
		var f pgcopy.Fields
		for _, s := range states {
			f = f[:0]
			f.Row(len(columns))
			f.Int64(s.file)
			f.Int64(s.line)
			f.Int64(s.change)
			f.Text(s.state)
			f.Text(s.outcome)
			if s.keptFile == 0 {
				f.Null()
				f.Null()
			} else {
				f.Int64(s.keptFile)
				f.Int64(s.keptLine)
			}
			c.digest.Add(f)
			if err := w.Encoded(f); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = c.noteOpen(ctx, states)
	}
	if err != nil {
		return err
	}
	_, err = pgcopy.Copy(ctx, c.tx.Conn(), "transaction_origins", []string{"file_id", "line", "change"}, func(w *pgcopy.Writer) error {
		for _, s := range states {
			if s.outcome != reject.OutcomeLoaded {
				continue
			}
			if err := w.Row(3); err != nil {
				return err
			}
			w.Int64(s.file)
			w.Int64(s.line)
			w.Int64(s.change)
		}
		return nil
	})
	return err
}
