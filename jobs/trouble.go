package jobs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/pipeline/extract"
	"github.com/opentax/tally/pipeline/load"
)

// fileTries is how many attempts at a run may set a file aside, before it fails if it is
// what causes the trouble.
const fileTries = 3

// asideError is why a file was set aside: the next attempt tries it again.
type asideError struct{ error }

func (e asideError) Unwrap() error { return e.error }

// asideErrors are those of an attempt.
type asideErrors []error

// Error names the first of them.
func (e asideErrors) Error() string {
	texts := make([]string, 0, failedNamed+1)
	for i, err := range e {
		if i == failedNamed {
			texts = append(texts, fmt.Sprintf("and %d more", len(e)-i))
			break
		}
		texts = append(texts, err.Error())
	}
	return strings.Join(texts, "; ")
}

// Unwrap returns all of them.
func (e asideErrors) Unwrap() []error { return e }

// Retryable is true; see [postgres.Retryable].
func (asideErrors) Retryable() bool { return true }

// troubleOf is the trouble that a load's error is about, of the database or of temporary
// files: a source is only read, and needs no room.
func troubleOf(err error) (postgres.Trouble, bool) {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return postgres.Trouble{Name: "no_temporary_space", Scope: postgres.ScopeWork,
			Fix: "free disk space, or set TMPDIR to a folder with more of it: a load needs as much as the file has"}, true
	}
	return postgres.TroubleOf(err)
}

// tryFile loads a file. One that meets a trouble is set aside, so that it does not hold up
// the others: its error is an asideError, or after fileTries it fails if it is the cause.
// Where not even that can be recorded, nothing else can be loaded: the error ends the
// attempt.
func (s *Service) tryFile(ctx context.Context, a *attempt, req load.Request) (load.Result, error) {
	file, err := s.config.Loader.Load(ctx, req)
	if err == nil || ctx.Err() != nil || errors.Is(err, load.ErrFenced) || errors.Is(err, bucket.ErrUnavailable) {
		return file, err
	}
	trouble, ok := troubleOf(err)
	if !ok {
		return file, err
	}
	tries, others, noteErr := s.noteTrouble(ctx, req, trouble, err)
	if noteErr != nil {
		a.logger.WarnContext(ctx, "file cannot be set aside", "path", req.Path.String(), "error", noteErr)
		return file, err
	}
	a.logger.WarnContext(ctx, "file set aside; it will be retried", "path", req.Path.String(), "trouble", trouble.Name, "tries", tries, "error", err)
	blamed := trouble.Scope == postgres.ScopeWork || trouble.Scope == postgres.ScopeShared && others
	if tries < fileTries || !blamed {
		return file, asideError{err}
	}
	req.GiveUp = &extract.FileError{Path: req.Path.String(), Code: load.CodeGivenUp, Detail: fmt.Sprintf("%s in %d attempts", trouble, tries),
		Hint: trouble.Fix + "; the next run tries the file again", Err: err}
	if file, err = s.config.Loader.Load(ctx, req); err != nil {
		return file, asideError{err}
	}
	return file, nil
}

// noteTrouble records that a file is set aside, in how many attempts that was, and whether
// the run has loaded other files since the first of them.
func (s *Service) noteTrouble(ctx context.Context, req load.Request, trouble postgres.Trouble, cause error) (tries int, others bool, err error) {
	_, err = s.pool.Exec(ctx, s.sql.Get("note_trouble"), req.RunID, req.Attempt, req.Source, req.Path.String(), trouble.Name, postgres.Text(cause.Error()))
	if err == nil {
		err = s.pool.QueryRow(ctx, s.sql.Get("file_tries"), req.RunID, req.Source, req.Path.String()).Scan(&tries, &others)
	}
	return tries, others, err
}

// bound ends a run that was retried for long enough. The next night reads its sources
// again; none of its files counts as failed.
func (a *attempt) bound(out outcome) outcome {
	if _, waits := out.onlyWaits(); out.status != ledger.StatusRetrying || waits || !a.last {
		return out
	}
	return outcome{ledger.StatusFailed, fmt.Errorf("given up after %d attempts; the next run tries the files again: %w", a.number, out.err)}
}
