package jobs

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/extract"
	"github.com/opentax/tally/pipeline/load"
	"github.com/opentax/tally/pipeline/transform"
)

// StatusSkipped is the status of a file that failed in an earlier run and has not changed,
// nor have its rules and the program: it is retried only when requested.
const StatusSkipped = "skipped"

const (
	progressEvery = 5 * time.Second // between log lines of a long load
	failedNamed   = 10              // files that a run's error names at most
)

// FilesError reports the files of a run that failed. The others are loaded.
type FilesError struct {
	Failed []load.Result
	Other  []error // failures besides a file's, such as the listing of a source
}

// Error names the first ten files with their errors.
func (e *FilesError) Error() string {
	var parts []string
	for i, f := range e.Failed {
		if i == failedNamed {
			parts = append(parts, fmt.Sprintf("and %d more", len(e.Failed)-i))
			break
		}
		if !strings.Contains(f.Error, f.Path) {
			f.Error += " (" + f.Path + ")"
		}
		parts = append(parts, f.Error)
	}
	for _, err := range e.Other {
		parts = append(parts, err.Error())
	}
	return strings.Join(parts, "; ")
}

func (e *FilesError) count() int { return len(e.Failed) + len(e.Other) }

// Unwrap returns the other errors.
func (e *FilesError) Unwrap() []error { return e.Other }

// loadSources loads every file of every source in order. A bad file or listing does not
// stop the others; a database that is unavailable or the end of ctx stops the attempt. If an
// object store is unavailable, the rest of its source is left out, as is a file that meets
// trouble, and the attempt is repeated after the others. So it is if a file does not stop
// growing, or if a source waits for the run of an earlier date.
func (s *Service) loadSources(ctx context.Context, a *attempt, result *RunResult) error {
	if a.sources == nil { // of a queued run
		sources, err := s.queuedSources(ctx, a)
		if err != nil {
			return err
		}
		a.sources = sources
	}
	known, err := s.knownFailures(ctx, a)
	if err != nil {
		return err
	}
	if len(a.sources) == 0 {
		a.logger.WarnContext(ctx, "no sources are configured; nothing to do")
	}
	failed := &FilesError{}
	var unavailable []error
	early := waiting{}
	for _, source := range a.sources {
		if w, ok := a.waiting[source.Name]; ok {
			a.logger.InfoContext(ctx, "source waits for the run of an earlier date", "source", source.Name, "earlier_date", w.First.String())
			early[source.Name] = w
			continue
		}
		l := &sourceLoad{service: s, attempt: a, source: source, failures: known, result: result, failed: failed}
		err := s.readSource(ctx, l)
		if (errors.Is(err, bucket.ErrUnavailable) || errors.Is(err, errGrowing)) && ctx.Err() == nil {
			a.logger.WarnContext(ctx, "source will be retried", "source", source.Name, "error", err)
			unavailable = append(unavailable, err)
		} else if err != nil {
			return err
		}
	}
	if len(early) > 0 {
		unavailable = append(unavailable, &turnError{early})
	}
	if len(a.aside) > 0 {
		unavailable = append(unavailable, a.aside)
	}
	if len(unavailable) == 0 && len(failed.Failed)+len(failed.Other) > 0 {
		return failed
	}
	return errors.Join(unavailable...)
}

// readSource loads the files of a source, and records it for the runs of later dates.
func (s *Service) readSource(ctx context.Context, l *sourceLoad) error {
	files, failures, aside := len(l.result.Files), l.failed.count(), len(l.attempt.aside)
	err := l.run(ctx)
	if err != nil || l.attempt.kind == ledger.KindManual || len(l.attempt.aside) > aside {
		return err
	}
	return s.recordSource(ctx, l.attempt, l.source.Name, len(l.result.Files)-files+l.unlisted, l.failed.count()-failures)
}

// list returns the source's files. A missing path of a manual run is left to the loader,
// which records it in the ledger.
func (a *attempt) list(ctx context.Context, stores *bucket.Stores, source pipeline.Source) ([]bucket.Entry, error) {
	files, err := source.Files(ctx, stores, a.date.Time())
	if a.kind == ledger.KindManual && (errors.Is(err, fs.ErrNotExist) || err == nil && len(files) == 0) {
		return []bucket.Entry{{Location: source.Path}}, nil
	}
	return files, err
}

// stops reports whether the next file would fail too.
func stops(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, load.ErrFenced) || postgres.Retryable(err)
}

// report passes progress on and logs it every few seconds.
func (a *attempt) report(ctx context.Context) func(pipeline.Progress) {
	logged := time.Now()
	return func(p pipeline.Progress) {
		if a.progress != nil {
			a.progress(p)
		}
		if time.Since(logged) < progressEvery {
			return
		}
		logged = time.Now()
		a.logger.InfoContext(ctx, "loading", "path", p.Path, "stage", p.Stage, "rows", p.Rows,
			"rows_per_second", int64(float64(p.Rows)/max(p.Seconds, 1e-3)), "percent", int(100*p.Share))
	}
}

type failure struct { // its fields are in the order of the statement's columns
	RunID         int64
	Source, Path  string
	SHA256, Rules []byte
	Code, Reason  string
}

type failures map[[2]string][]failure // by source and path

// knownScope selects the failed files that are not retried.
type knownScope int

const (
	knownNone  knownScope = iota // requested: everything is tried
	knownOfRun                   // a run continues: files that failed in it stay failed
	knownOfAny                   // a nightly run: files that failed in earlier runs are skipped too
)

// knownToJob is the scope of a worker's attempt. An attempt follows a failed one only when
// an operator retried the job.
func knownToJob(a *attempt) knownScope {
	switch {
	case a.previous == ledger.StatusFailed:
		return knownNone
	case a.kind == ledger.KindNightly:
		return knownOfAny
	default:
		return knownOfRun
	}
}

func (s *Service) knownFailures(ctx context.Context, a *attempt) (failures, error) {
	if a.known == knownNone {
		return nil, nil
	}
	rows, _ := s.pool.Query(ctx, s.sql.Get("known_failures"), s.config.CodeVersion, a.runID) // CollectRows returns its error
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[failure])
	if err != nil {
		return nil, fmt.Errorf("look up failed files: %w", err)
	}
	known := failures{}
	for _, f := range list {
		if a.known == knownOfAny || f.RunID == a.runID {
			key := [2]string{f.Source, f.Path}
			known[key] = append(known[key], f)
		}
	}
	return known, nil
}

// match is the result of a file whose content failed before under the same rules.
func (known failures) match(
	ctx context.Context, a *attempt, source pipeline.Source, path bucket.Location, identity extract.Identity,
) (load.Result, bool) {
	for _, f := range known.of(source, path) {
		var rules transform.Rules
		if !bytes.Equal(f.SHA256, identity.SHA256[:]) || json.Unmarshal(f.Rules, &rules) != nil || !reflect.DeepEqual(rules, source.Rules) {
			continue
		}
		file := load.Result{
			Path: path.String(), Source: source.Name, Status: StatusSkipped, ErrorCode: f.Code, Error: f.Reason,
			SHA256: hex.EncodeToString(identity.SHA256[:]), Bytes: identity.Bytes, Faults: map[string]int64{},
		}
		if f.RunID == a.runID {
			file.Status = load.StatusFailed
		}
		a.logger.WarnContext(ctx, "file failed before and is unchanged; not retried",
			"path", path, "failed_in_run", f.RunID, "error", f.Reason)
		return file, true
	}
	return load.Result{}, false
}

func (known failures) of(source pipeline.Source, path bucket.Location) []failure {
	return known[[2]string{source.Name, path.String()}]
}
