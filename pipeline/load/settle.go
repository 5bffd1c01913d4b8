package load

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/reject"
	"github.com/opentax/tally/pipeline/seal"
	"github.com/opentax/tally/pipeline/transform"
)

// ErrNotOpen says that a row is not among the rejects of a loaded file, or was dealt with
// already.
var ErrNotOpen = errors.New("it is no open reject")

// RejectedError says why a row that a person has dealt with cannot be loaded.
type RejectedError struct {
	ID     reject.ID
	Faults []string
}

func (e *RejectedError) Error() string {
	return fmt.Sprintf("%s still has the faults %q", e.ID, e.Faults)
}

// Fix loads a rejected row or a conflict with values that a person has corrected. It may end
// as a duplicate or a conflict, and keeps them; a row that still has faults is a [RejectedError].
func (l *Loader) Fix(ctx context.Context, id reject.ID, fix transform.Fix, settings Settings, by audit.By) (reject.ReplayResult, error) {
	if err := fix.Check(); err != nil {
		return reject.ReplayResult{}, err
	}
	return l.decideOne(ctx, seal.Fix, id, by, replay{settings: settings, state: reject.StateFixed, fix: fix, from: []string{reject.OutcomeRejected, reject.OutcomeConflict}})
}

// Take decides a conflict for the row that was not loaded: it takes the place of the stored
// one, which stays in the history. One of a retired month stays where it is: [ErrRetired].
func (l *Loader) Take(ctx context.Context, id reject.ID, settings Settings, by audit.By) (reject.ReplayResult, error) {
	return l.decideOne(ctx, seal.Settle, id, by, replay{settings: settings, state: reject.StateSettled, takes: true, from: []string{reject.OutcomeConflict}})
}

// decideOne reads one row again, as how says.
func (l *Loader) decideOne(ctx context.Context, kind seal.Kind, id reject.ID, by audit.By, how replay) (reject.ReplayResult, error) {
	result := reject.ReplayResult{Warnings: []string{}}
	err := l.change(ctx, kind, by, false, func(c *change) (bool, error) {
		how.change, how.result = c, &result
		c.entry.FileID = id.FileID
		if err := how.run(ctx, []reject.ID{id}); err != nil {
			return false, err
		}
		switch {
		case result.Read == 0:
			return false, fmt.Errorf("%s: %w", id, ErrNotOpen)
		case len(result.Warnings) > 0:
			return false, errors.New(result.Warnings[0])
		case result.Rejected > 0:
			return false, &RejectedError{id, how.faults.Strings()}
		case how.takes && result.Conflict > 0:
			return false, fmt.Errorf("%s: the stored row: %w", id, ErrRetired)
		}
		return kind != seal.Fix || result.Conflict == 0 || !how.repeats, nil // a repeated fix is a conflict still
	})
	return result, err
}

// Keep decides a conflict for the stored row.
func (l *Loader) Keep(ctx context.Context, id reject.ID, by audit.By) error {
	n, err := l.closeRejects(ctx, seal.Settle, []reject.ID{id}, by, reject.StateSettled, reject.OutcomeConflict)
	if err == nil && n == 0 {
		err = fmt.Errorf("settle: %s: %w", id, ErrNotOpen)
	}
	return err
}

// Discard closes rejected rows and conflicts without loading them, and counts those that
// were open.
func (l *Loader) Discard(ctx context.Context, ids []reject.ID, by audit.By) (int64, error) {
	return l.closeRejects(ctx, seal.Discard, ids, by, reject.StateDiscarded, reject.OutcomeRejected, reject.OutcomeConflict)
}

// closeRejects gives the open ones of some outcomes a state, and loads nothing.
func (l *Loader) closeRejects(ctx context.Context, kind seal.Kind, ids []reject.ID, by audit.By, state string, outcomes ...string) (closed int64, err error) {
	files, lines := split(ids)
	err = l.change(ctx, kind, by, false, func(c *change) (bool, error) {
		rows, _ := c.tx.Query(ctx, l.statements.Get("open_states"), files, lines, outcomes) // CollectRows returns its error
		states, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (rejectState, error) {
			s := rejectState{change: c.entry.Number, state: state}
			return s, row.Scan(&s.file, &s.line, &s.outcome, &s.keptFile, &s.keptLine)
		})
		if err != nil || len(states) == 0 {
			return false, err
		}
		closed = int64(len(states))
		return true, c.note(ctx, states)
	})
	return closed, err
}

// split gives the two halves of ids, each id once.
func split(ids []reject.ID) (files, lines []int64) {
	ids = slices.SortedFunc(slices.Values(ids), func(a, b reject.ID) int { return cmp.Or(cmp.Compare(a.FileID, b.FileID), cmp.Compare(a.Line, b.Line)) })
	for _, id := range slices.Compact(ids) {
		files, lines = append(files, id.FileID), append(lines, id.Line)
	}
	return files, lines
}
