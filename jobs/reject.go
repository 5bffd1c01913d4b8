package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/reject"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/load"
	"github.com/opentax/tally/pipeline/transform"
)

// settingsOf are the present settings of a source, or those that the file was loaded under
// if the settings file has no such source.
func (s *Service) settingsOf(source string, loaded transform.Rules) (rules transform.Rules, learns bool) {
	i := slices.IndexFunc(s.config.Sources, func(c pipeline.Source) bool { return c.Name == source })
	if i < 0 {
		return loaded, source != manualSource
	}
	return s.config.Sources[i].Rules, true
}

// Rejects are the rejects that a filter selects, each with the cell that its fault is about,
// a conflict with both versions.
func (s *Service) Rejects(ctx context.Context, f ledger.RejectFilter) ([]ledger.ListedReject, error) {
	rejects, err := s.ledger.FilteredRejects(ctx, f)
	if err != nil {
		return nil, err
	}
	return rejects, s.inspect(ctx, rejects)
}

// Reject is one reject, whatever became of it, or [ledger.ErrRejectNotFound].
func (s *Service) Reject(ctx context.Context, id reject.ID) (ledger.ListedReject, error) {
	return s.decided(ctx, id, nil)
}

// inspect adds to rejects what is not in the ledger.
func (s *Service) inspect(ctx context.Context, rejects []ledger.ListedReject) error {
	var texts []load.RejectText
	var conflicts []string
	for _, r := range rejects {
		text := load.RejectText{ID: reject.ID{FileID: r.FileID, Line: r.Line}, Raw: r.RawBytes, Length: r.RawLength, Change: r.LastChange}
		if text.Raw == nil {
			text.Raw = []byte(r.Raw)
		}
		if len(r.Faults) > 0 {
			text.Fault = r.Faults[0]
		}
		texts = append(texts, text)
	}
	seen, err := s.changes.Inspect(ctx, texts, s.settingsOf)
	if err != nil {
		return err
	}
	for i := range rejects {
		r, found := &rejects[i], seen[texts[i].ID]
		if found.Column != "" {
			r.Cell = &ledger.FaultyCell{Column: found.Column, Text: found.Cell, Offset: found.Offset}
		}
		if found.Valid {
			r.Values = &ledger.RowValues{TransactionID: found.ID, UserID: found.UserID, Amount: found.Amount, Date: found.Date}
		}
		if r.Outcome == reject.OutcomeConflict && idOf(r) != "" {
			conflicts = append(conflicts, idOf(r))
		}
	}
	return s.addStored(ctx, rejects, conflicts)
}

// idOf is the transaction id of a reject, if it is known.
func idOf(r *ledger.ListedReject) string {
	if r.Values != nil {
		return r.Values.TransactionID
	}
	return r.TransactionID
}

func (s *Service) addStored(ctx context.Context, rejects []ledger.ListedReject, ids []string) error {
	stored, err := s.ledger.StoredRows(ctx, ids)
	if err != nil {
		return err
	}
	byID := map[string]*ledger.StoredRow{}
	for i := range stored {
		byID[stored[i].TransactionID] = &stored[i]
	}
	for i := range rejects {
		if r := &rejects[i]; r.Outcome == reject.OutcomeConflict {
			r.Stored = byID[idOf(r)]
		}
	}
	return nil
}

// replayBatch is how many ids a filter of a replay reads at once.
const replayBatch = 100_000

// Replay reads open rejected rows again under the settings of today, and loads those that
// pass, in one commit. Ids that are not open are named in the warnings; if none is, that is
// a [ledger.NotOpenError].
func (s *Service) Replay(ctx context.Context, r ledger.ReplayRequest) (reject.ReplayResult, error) {
	warnings, ids := []string{}, r.IDs
	var notOpen error
	var err error
	if len(ids) > 0 {
		if warnings, notOpen, err = s.notReplayable(ctx, ids); err != nil {
			return reject.ReplayResult{}, err
		}
	} else if ids, err = s.selected(ctx, r); err != nil {
		return reject.ReplayResult{}, err
	}
	result, err := s.changes.Replay(ctx, ids, s.settingsOf, r.By, r.DryRun)
	if err == nil && result.Read == 0 {
		err = notOpen
	}
	result.Warnings = append(warnings, result.Warnings...)
	return result, err
}

// notReplayable finds ids that are no open rejected rows: unknown ones are an error.
func (s *Service) notReplayable(ctx context.Context, ids []reject.ID) (warnings []string, first, err error) {
	warnings = []string{}
	rows, err := s.ledger.RejectsByID(ctx, ids)
	if err != nil {
		return nil, nil, err
	}
	known := map[reject.ID]*ledger.ListedReject{}
	for i := range rows {
		known[reject.ID{FileID: rows[i].FileID, Line: rows[i].Line}] = &rows[i]
	}
	for _, id := range ids {
		row := known[id]
		if row == nil {
			return nil, nil, fmt.Errorf("reject %s: %w; tally rejects lists them", id, ledger.ErrRejectNotFound)
		}
		if e := stateError(row, reject.OutcomeRejected); e != nil {
			first = e
			warnings = append(warnings, e.Error())
		}
	}
	return warnings, first, nil
}

// selected are the ids of a filter.
func (s *Service) selected(ctx context.Context, r ledger.ReplayRequest) (ids []reject.ID, err error) {
	f := r.Filter
	f.State, f.Outcome, f.Limit = reject.StateOpen, reject.OutcomeRejected, replayBatch+1
	for {
		batch, err := s.ledger.RejectIDs(ctx, f)
		if err != nil {
			return nil, err
		}
		ids = append(ids, batch...)
		if r.MaxRows > 0 && len(ids) > r.MaxRows {
			return nil, &ledger.TooManyError{Max: r.MaxRows}
		}
		if len(batch) < f.Limit {
			return ids, nil
		}
		f.After = batch[len(batch)-1]
	}
}

// Fix loads a reject with corrected values. The row may end as a duplicate, or as a conflict
// that stays open.
func (s *Service) Fix(ctx context.Context, r ledger.FixRequest) (ledger.ListedReject, error) {
	fix := transform.Fix{TransactionID: r.TransactionID, UserID: r.UserID, Amount: r.Amount, Date: r.Date}
	if err := fix.Check(); err != nil {
		return ledger.ListedReject{}, fmt.Errorf("%w: %w", ledger.ErrInvalidFix, err)
	}
	_, err := s.changes.Fix(ctx, r.ID, fix, s.settingsOf, r.By)
	return s.decided(ctx, r.ID, err, reject.OutcomeRejected, reject.OutcomeConflict)
}

// Settle decides a conflict: for the row that was not loaded, which takes the place of the
// stored one, or for the stored one.
func (s *Service) Settle(ctx context.Context, id reject.ID, take bool, by audit.By) (ledger.ListedReject, error) {
	var err error
	if take {
		_, err = s.changes.Take(ctx, id, s.settingsOf, by)
	} else {
		err = s.changes.Keep(ctx, id, by)
	}
	return s.decided(ctx, id, err, reject.OutcomeConflict)
}

// Discard closes a reject without loading it.
func (s *Service) Discard(ctx context.Context, id reject.ID, by audit.By) (ledger.ListedReject, error) {
	n, err := s.changes.Discard(ctx, []reject.ID{id}, by)
	if err == nil && n == 0 {
		err = load.ErrNotOpen
	}
	return s.decided(ctx, id, err, reject.OutcomeRejected, reject.OutcomeConflict)
}

// decided is a reject after a change, or says why that was not possible.
func (s *Service) decided(ctx context.Context, id reject.ID, err error, wanted ...string) (ledger.ListedReject, error) {
	still, rejected := errors.AsType[*load.RejectedError](err)
	switch {
	case rejected:
		return ledger.ListedReject{}, &ledger.StillRejectedError{ID: id, Faults: still.Faults}
	case errors.Is(err, load.ErrRetired):
		return ledger.ListedReject{}, &ledger.NotOpenError{What: "reject " + id.String(),
			Why: "is in conflict with a row of a retired month, which cannot be replaced: tally settle " + id.String() + " keep closes it"}
	case err != nil && !errors.Is(err, load.ErrNotOpen):
		return ledger.ListedReject{}, err
	}
	rows, findErr := s.ledger.RejectsByID(ctx, []reject.ID{id})
	switch {
	case findErr != nil:
		return ledger.ListedReject{}, findErr
	case len(rows) == 0:
		return ledger.ListedReject{}, fmt.Errorf("reject %s: %w; tally rejects lists them", id, ledger.ErrRejectNotFound)
	case err == nil:
		return rows[0], s.inspect(ctx, rows)
	}
	if e := stateError(&rows[0], wanted...); e != nil {
		return rows[0], e
	}
	return rows[0], err
}

// stateError says why a reject is not open for a change of rows with some outcomes.
func stateError(r *ledger.ListedReject, wanted ...string) error {
	e := &ledger.NotOpenError{What: "reject " + r.ID}
	switch {
	case r.FileStatus != load.StatusLoaded:
		e.Why = "is of a file that failed: fix the file or its settings, and load it again"
	case r.Reverted:
		e.Why = "is of a file that was reverted: load the file again"
	case r.State != reject.StateOpen:
		e.Why = "is not open: it was " + r.State + ", with the outcome " + r.Outcome
	case slices.Contains(wanted, r.Outcome):
		return nil
	case r.Outcome == reject.OutcomeConflict:
		e.Why = "is a conflict: tally settle decides it"
	case r.Outcome == reject.OutcomeRejected:
		e.Why = "is rejected, not a conflict: tally replay reads it again, tally fix corrects it"
	default:
		e.Why = "is a " + r.Outcome + " of a stored row: nothing is to be done"
	}
	return e
}
