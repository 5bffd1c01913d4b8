package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/internal/reject"
	"github.com/opentax/tally/pipeline/seal"
	"github.com/opentax/tally/summaries"
)

// Errors of [Loader.Revert].
var (
	ErrNotLoaded = errors.New("it is no loaded file")
	ErrReverted  = errors.New("it was reverted already")
)

// Revert takes loaded files back out in one commit. Their rows leave transactions, and stay
// in the history. Rows that they had replaced are stored again as they were, and rows of
// other files that had lost against theirs are read again by the settings of today. What
// other files did to the same ids since stays.
func (l *Loader) Revert(ctx context.Context, files []int64, settings Settings, by audit.By, dryRun bool) (reject.RevertResult, error) {
	result := reject.RevertResult{Warnings: []string{}}
	err := l.change(ctx, seal.Revert, by, dryRun, func(c *change) (bool, error) {
		r := revert{change: c, files: files, result: &result}
		if err := r.run(ctx); err != nil {
			return false, err
		}
		return true, r.replayLosers(ctx, settings)
	})
	return result, err
}

// revert takes files out as a part of a change.
type revert struct {
	*change
	files  []int64
	result *reject.RevertResult
	deltas *summaries.Deltas
}

func (r *revert) run(ctx context.Context) error {
	statements := r.loader.statements
	words, err := r.find(ctx)
	if err != nil {
		return err
	}
	if err := r.refuseRetired(ctx, "retired_revert", "file %s", r.files); err != nil {
		return err
	}
	r.deltas = summaries.NewDeltas(ctx)
	defer r.deltas.Close()
	if err := r.exec(ctx, statements.Get("reverted_rows", words...)); err != nil {
		return fmt.Errorf("find the rows: %w", err)
	}
	if r.result.Rows, err = r.each(ctx, "reverted_values", r.deltas.Remove); err != nil {
		return err
	}
	_, removed := r.deltas.Net()
	r.result.TotalAmount = removed.Neg()
	for _, name := range []string{"keep_reverted", "delete_reverted", "delete_keys"} {
		if err := r.exec(ctx, statements.Get(name)); err != nil {
			return fmt.Errorf("take the rows out: %w", err)
		}
	}
	if err := r.exec(ctx, statements.Get("note_reverts"), r.files, r.entry.Number); err != nil {
		return err
	}
	if err := r.exec(ctx, statements.Get("close_open"), r.files); err != nil {
		return err
	}
	if err := r.restore(ctx); err != nil {
		return err
	}
	if err := r.tx.QueryRow(ctx, statements.Get("reverted_users")).Scan(&r.result.Users); err != nil {
		return err
	}
	r.entry.Rows, r.entry.Amount = r.deltas.Net()
	_, err = summaries.Refresh(ctx, r.tx, r.deltas, r.files[0])
	return err
}

// find checks that the files can be reverted, and returns the words of the statement that finds their rows.
func (r *revert) find(ctx context.Context) (words []string, err error) {
	if len(r.files) == 0 {
		return nil, errors.New("no file is named")
	}
	var list []string
	for _, file := range r.files {
		var reverted bool
		var source string
		err := r.tx.QueryRow(ctx, r.loader.statements.Get("revertible"), file).Scan(&source, &r.entry.Path, &r.entry.SHA256, &reverted)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil, fmt.Errorf("file %d: %w", file, ErrNotLoaded)
		}
		if err != nil {
			return nil, err
		}
		if reverted {
			return nil, fmt.Errorf("file %d: %w", file, ErrReverted)
		}
		list = append(list, strconv.FormatInt(file, 10))
	}
	if r.entry.FileID = r.files[0]; len(r.files) > 1 {
		r.entry.FileID, r.entry.Path, r.entry.SHA256 = 0, "", ""
		if r.entry.Detail, err = json.Marshal(map[string]any{"files": r.files}); err != nil {
			return nil, err
		}
	}
	var from, to string
	if err := r.tx.QueryRow(ctx, r.loader.statements.Get("reverted_months"), r.files).Scan(&from, &to); err != nil {
		return nil, fmt.Errorf("look up the months: %w", err)
	}
	return []string{"files", strings.Join(list, ","), "from", "'" + from + "'", "to", "'" + to + "'"}, nil
}

// restore stores the newest former state of each id again whose file was not reverted.
func (r *revert) restore(ctx context.Context) (err error) {
	statements := r.loader.statements
	if err := r.exec(ctx, statements.Get("restored_rows")); err != nil {
		return fmt.Errorf("find the rows to restore: %w", err)
	}
	if err := r.refuseRetired(ctx, "retired_restore", "the former state of %s"); err != nil {
		return err
	}
	if r.result.Restored, err = r.each(ctx, "restored_values", r.deltas.Add); err != nil || r.result.Restored == 0 {
		return err
	}
	for _, name := range []string{"restore", "restore_keys", "restore_origins"} {
		if err := r.exec(ctx, statements.Get(name)); err != nil {
			return fmt.Errorf("restore rows: %w", err)
		}
	}
	return nil
}

// refuseRetired is an error if a statement finds something that is in a retired month.
func (r *revert) refuseRetired(ctx context.Context, statement, what string, args ...any) error {
	var name, month string
	err := r.tx.QueryRow(ctx, r.loader.statements.Get(statement), args...).Scan(&name, &month)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up the retired months: %w", err)
	}
	return fmt.Errorf("%s has rows in %s: %w", fmt.Sprintf(what, name), month, ErrRetired)
}

// each gives a change of the rollups the rows of a statement, and counts them.
func (r *revert) each(ctx context.Context, statement string, change func(int32, civil.Date, money.Sum) error) (int64, error) {
	rows, err := r.tx.Query(ctx, r.loader.statements.Get(statement))
	if err != nil {
		return 0, err
	}
	var user, date int32
	var amount float64
	tag, err := pgx.ForEachRow(rows, []any{&user, &date, &amount}, func() error {
		exact, err := money.FromFloat(amount)
		if err != nil {
			return fmt.Errorf("stored row of user %d: %w", user, err)
		}
		return change(user, civil.Date(date), exact.Sum())
	})
	return tag.RowsAffected(), err
}

// replayLosers reads the rows of other files again that had lost against a row that was
// taken out.
func (r *revert) replayLosers(ctx context.Context, settings Settings) error {
	rows, _ := r.tx.Query(ctx, r.loader.statements.Get("losers"), r.files) // CollectRows returns its error
	ids, err := pgx.CollectRows(rows, pgx.RowToStructByPos[reject.ID])
	if err != nil {
		return fmt.Errorf("look up the rows that had lost: %w", err)
	}
	again := reject.ReplayResult{Warnings: []string{}}
	if len(ids) > 0 {
		p := replay{change: r.change, settings: settings, result: &again, state: reject.StateReplayed, from: []string{reject.OutcomeDuplicate, reject.OutcomeConflict}, losers: true}
		if err := p.run(ctx, ids); err != nil {
			return err
		}
	}
	r.result.Replayed, r.result.Warnings = again.Loaded, again.Warnings
	r.result.Change = r.entry.Amount
	return nil
}

func (c *change) exec(ctx context.Context, sql string, args ...any) error {
	_, err := c.tx.Exec(ctx, sql, args...)
	return err
}
