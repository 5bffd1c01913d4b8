package jobs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/panics"
	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/pipeline/extract"
	"github.com/opentax/tally/pipeline/load"
)

// fileTries is how many attempts at a run may set a file aside, before it fails if it is
// what causes the trouble.
const fileTries = 3

// fileCrashes is how many attempts in a row may crash at a file, after one that did so for a reason
// not known, before the file fails.
const fileCrashes = 4

// crash is recorded of each file that is tried after an attempt whose process crashed, before it is
// tried: if the process crashes again, the record shows at which file.
const crash = "crash"

var (
	errMayCrash = errors.New("recorded before the file is tried, since the process of the attempt before crashed")
	errCrashed  = errors.New("the process ended without a word")
)

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
// files (a source is only read, and needs no room), or a bug.
func troubleOf(err error) (postgres.Trouble, bool) {
	if _, panicked := errors.AsType[*panics.Panic](err); panicked {
		return postgres.Trouble{Name: "panic", Scope: postgres.ScopeWork,
			Fix: "a bug of Tally: report it with the stack, which the run's log has"}, true
	}
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
	crashes, err := s.noteCrash(ctx, a, req)
	if err != nil {
		return load.Result{}, err
	}
	if crashes >= fileCrashes {
		fix := "look in the system's log for what ended the process, such as a lack of memory"
		return s.giveUp(ctx, req, postgres.Trouble{Name: crash, Fix: fix}, crashes+1, errCrashed)
	}
	file, err := s.load(ctx, req)
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
	a.logger.WarnContext(ctx, "file set aside; it will be retried", "path", req.Path.String(), "trouble", trouble.Name, "tries", tries, "error", err.Error())
	blamed := trouble.Scope == postgres.ScopeWork || trouble.Scope == postgres.ScopeShared && others
	if tries < fileTries || !blamed {
		return file, asideError{err}
	}
	return s.giveUp(ctx, req, trouble, tries, err)
}

// giveUp records that a file failed.
func (s *Service) giveUp(ctx context.Context, req load.Request, trouble postgres.Trouble, tries int, cause error) (load.Result, error) {
	req.GiveUp = &extract.FileError{Path: req.Path.String(), Code: load.CodeGivenUp, Detail: fmt.Sprintf("%s in %d attempts", trouble, tries),
		Hint: trouble.Fix + "; the next run tries the file again", Err: cause}
	file, err := s.load(ctx, req)
	if err != nil {
		return file, asideError{err}
	}
	return file, nil
}

func (s *Service) load(ctx context.Context, req load.Request) (file load.Result, err error) {
	defer func() {
		if p, panicked := errors.AsType[*panics.Panic](err); panicked { // what wraps it hides the stack
			req.Logger.ErrorContext(ctx, "panic", "path", req.Path.String(), "error", p)
		}
	}()
	defer panics.Recover(&err)
	return s.config.Loader.Load(ctx, req)
}

// noteTrouble records that a file is set aside, in how many attempts that was, and whether
// the run has loaded other files since the first of them.
func (s *Service) noteTrouble(ctx context.Context, req load.Request, trouble postgres.Trouble, cause error) (tries int, others bool, err error) {
	if err = s.note(ctx, req, trouble.Name, cause); err == nil {
		err = s.pool.QueryRow(ctx, s.sql.Get("file_tries"), req.RunID, req.Source, req.Path.String()).Scan(&tries, &others)
	}
	return tries, others, err
}

// noteCrash records that a file may crash the process, if the attempt before did, and returns in how
// many attempts it has.
func (s *Service) noteCrash(ctx context.Context, a *attempt, req load.Request) (crashes int, err error) {
	if a.previous != ledger.StatusLost {
		return 0, nil
	}
	if err = s.note(ctx, req, crash, errMayCrash); err == nil {
		err = s.pool.QueryRow(ctx, s.sql.Get("file_crashes"), req.RunID, req.Source, req.Path.String()).Scan(&crashes)
	}
	return crashes, err
}

func (s *Service) note(ctx context.Context, req load.Request, trouble string, cause error) error {
	_, err := s.pool.Exec(ctx, s.sql.Get("note_trouble"), req.RunID, req.Attempt, req.Source, req.Path.String(), trouble, postgres.Text(cause.Error()))
	return err
}

// bound ends a run that was retried for long enough. The next night reads its sources
// again; none of its files counts as failed.
func (a *attempt) bound(out outcome) outcome {
	if _, waits := out.onlyWaits(); out.status != ledger.StatusRetrying || waits || !a.last {
		return out
	}
	return outcome{ledger.StatusFailed, fmt.Errorf("given up after %d attempts; the next run tries the files again: %w", a.number, out.err)}
}
