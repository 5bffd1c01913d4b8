package jobs

import (
	"context"
	"errors"
	"fmt"

	"github.com/opentax/tally/internal/reject"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/pipeline/load"
)

// Revert takes loaded files back out in one commit.
func (s *Service) Revert(ctx context.Context, r ledger.RevertRequest) (reject.RevertResult, error) {
	files := r.Files
	if r.RunID != 0 {
		if _, err := s.ledger.Run(ctx, r.RunID); err != nil {
			return reject.RevertResult{}, err
		}
		ofRun, err := s.ledger.RevertibleFiles(ctx, r.RunID)
		if err != nil {
			return reject.RevertResult{}, err
		}
		if files = append(files, ofRun...); len(files) == 0 {
			return reject.RevertResult{}, &ledger.NotOpenError{What: fmt.Sprintf("run %d", r.RunID), Why: "has no loaded file that is not reverted yet"}
		}
	}
	rows := int64(0)
	for _, id := range files {
		f, err := s.ledger.File(ctx, id)
		if err != nil {
			return reject.RevertResult{}, err
		}
		if rows += f.Loaded; r.MaxRows > 0 && rows > int64(r.MaxRows) {
			return reject.RevertResult{}, &ledger.TooManyError{Max: r.MaxRows}
		}
	}
	result, err := s.changes.Revert(ctx, files, s.settingsOf, r.By, r.DryRun)
	switch {
	case errors.Is(err, load.ErrReverted):
		err = &ledger.NotOpenError{What: fileNames(files), Why: "was reverted already; tally run PATH loads its content again"}
	case errors.Is(err, load.ErrNotLoaded):
		err = &ledger.NotOpenError{What: fileNames(files), Why: "was not loaded: it failed, so there is nothing to revert"}
	case errors.Is(err, load.ErrRetired):
		err = &ledger.NotOpenError{What: fileNames(files), Why: "cannot be reverted: " + err.Error()}
	}
	return result, err
}

func fileNames(files []int64) string {
	if len(files) == 1 {
		return fmt.Sprintf("file %d", files[0])
	}
	return fmt.Sprintf("one of the files %v", files)
}
