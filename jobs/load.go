package jobs

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
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

// StatusSkipped is how a file ends that failed in an earlier run and is the same
// still, under the same rules and program: it is not tried again unless asked.
const StatusSkipped = "skipped"

const (
	// progressEvery is how often a load that goes on says so in the log.
	progressEvery = 5 * time.Second
	// failedNamed bounds the files that a run's reason names.
	failedNamed = 10
)

// FilesError says which files of a run failed. The others are loaded.
type FilesError struct {
	Failed []load.Result
	Other  []error // what failed besides a file, such as the listing of a source
}

// Error names the files and their reasons, the first ten.
func (e *FilesError) Error() string {
	var b strings.Builder
	for i, f := range e.Failed {
		if i == failedNamed {
			fmt.Fprintf(&b, "; and %d more", len(e.Failed)-i)
			break
		}
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(f.Error)
		if !strings.Contains(f.Error, f.Path) {
			fmt.Fprintf(&b, " (%s)", f.Path)
		}
	}
	for _, err := range e.Other {
		if b.Len() > 0 {
			b.WriteString("; ")
		}
		b.WriteString(err.Error())
	}
	return b.String()
}

// Unwrap gives the errors besides the files.
func (e *FilesError) Unwrap() []error { return e.Other }

// loadSources loads every file of every source in order. What is wrong with one
// file or one listing does not stop the others; what is wrong with the database
// or ctx stops the attempt. An object store that is away takes the rest of its
// source along, and the attempt is made again when the others are loaded.
func (s *Service) loadSources(ctx context.Context, a *attempt, result *RunResult) error {
	known, err := s.knownFailures(ctx, a)
	if err != nil {
		return err
	}
	if len(a.sources) == 0 {
		a.logger.WarnContext(ctx, "no sources are configured; nothing to do")
	}
	bad := &FilesError{}
	var away []error
	for _, source := range a.sources {
		err := s.loadSource(ctx, a, source, known, result, bad)
		if errors.Is(err, bucket.ErrUnavailable) && ctx.Err() == nil {
			a.logger.WarnContext(ctx, "object store unavailable, source will be retried", slog.String("source", source.Name), slog.Any("error", err))
			away = append(away, err)
			continue
		}
		if err != nil {
			return err
		}
	}
	switch {
	case len(away) > 0:
		return errors.Join(away...)
	case len(bad.Failed)+len(bad.Other) > 0:
		return bad
	}
	return nil
}

// loadSource loads the files of a source. What it returns stops the source; what is
// wrong with a file or the listing goes to bad.
func (s *Service) loadSource(ctx context.Context, a *attempt, source pipeline.Source, known failures, result *RunResult, bad *FilesError) error {
	paths, err := a.list(ctx, s.config.Stores, source)
	if err != nil && stops(ctx, err) {
		return err
	}
	if err != nil {
		a.logger.ErrorContext(ctx, "source cannot be listed", slog.String("source", source.Name), slog.Any("error", err))
		bad.Other = append(bad.Other, err)
		return nil
	}
	a.logger.InfoContext(ctx, "source listed", slog.String("source", source.Name), slog.Int("files", len(paths)))
	for _, path := range paths {
		file, err := s.loadFile(ctx, a, source, path, known)
		if err != nil && stops(ctx, err) {
			return err
		}
		if err != nil {
			bad.Other = append(bad.Other, err)
			continue
		}
		result.Files = append(result.Files, file)
		if file.Status == load.StatusFailed {
			bad.Failed = append(bad.Failed, file)
		}
	}
	return nil
}

// list is the source's files. A path given by hand that is not there is left to
// the loader, which notes it in the ledger.
func (a *attempt) list(ctx context.Context, stores *bucket.Stores, source pipeline.Source) ([]bucket.Location, error) {
	paths, err := source.Files(ctx, stores, a.date.Time())
	if a.kind == ledger.KindManual && (errors.Is(err, fs.ErrNotExist) || err == nil && len(paths) == 0) {
		return []bucket.Location{source.Path}, nil
	}
	return paths, err
}

// stops tells what would fail the next file too.
func stops(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, load.ErrFenced) || postgres.Retryable(err)
}

func (s *Service) loadFile(ctx context.Context, a *attempt, source pipeline.Source, path bucket.Location, known failures) (load.Result, error) {
	if file, ok := known.find(ctx, a, s.config.Stores, source, path); ok {
		return file, nil
	}
	if err := ctx.Err(); err != nil {
		return load.Result{}, err
	}
	file, err := s.config.Loader.Load(ctx, load.Request{
		RunID: a.runID, Attempt: a.number, Source: source.Name, Path: path, Rules: source.Rules,
		CodeVersion: s.config.CodeVersion, Progress: a.report(ctx), Logger: a.logger,
	})
	if err != nil && !stops(ctx, err) {
		a.logger.ErrorContext(ctx, "file not loaded", slog.Any("path", path), slog.Any("error", err))
	}
	return file, err
}

// report hands progress on, and says in the log now and then that a long load
// goes on.
func (a *attempt) report(ctx context.Context) func(pipeline.Progress) {
	said := time.Now()
	return func(p pipeline.Progress) {
		if a.progress != nil {
			a.progress(p)
		}
		if time.Since(said) < progressEvery {
			return
		}
		said = time.Now()
		a.logger.InfoContext(ctx, "loading", slog.String("path", p.Path), slog.String("stage", p.Stage),
			slog.Int64("rows", p.Rows), slog.Int64("rows_per_second", int64(float64(p.Rows)/max(p.Seconds, 1e-3))),
			slog.Int("percent", int(100*p.Share)))
	}
}

// failure is a file in the ledger of which nothing was loaded.
type failure struct {
	runID        int64
	sha256       []byte
	rules        []byte
	code, reason string
}

// failures are known by source and path.
type failures map[[2]string][]failure

// knownScope is which files, having failed before, are not tried again.
type knownScope int

const (
	knownNone  knownScope = iota // somebody asked: everything is tried
	knownOfRun                   // the attempt goes on with a run: those that failed in it stay failed
	knownOfAny                   // a nightly run: those that failed in earlier runs are skipped, too
)

// knownToJob is the scope of an attempt by a worker. After a failed attempt there
// is only another because somebody retried it.
func knownToJob(a *attempt) knownScope {
	switch {
	case a.before == ledger.StatusFailed:
		return knownNone
	case a.kind == ledger.KindNightly:
		return knownOfAny
	default:
		return knownOfRun
	}
}

func (s *Service) knownFailures(ctx context.Context, a *attempt) (failures, error) {
	known := failures{}
	if a.known == knownNone {
		return known, nil
	}
	rows, err := s.pool.Query(ctx, s.sql.Get("known_failures"), s.config.CodeVersion)
	if err != nil {
		return nil, fmt.Errorf("look up failed files: %w", err)
	}
	var f failure
	var source, path string
	_, err = pgx.ForEachRow(rows, []any{&f.runID, &source, &path, &f.sha256, &f.rules, &f.code, &f.reason}, func() error {
		key := [2]string{source, path}
		if a.known == knownOfAny || f.runID == a.runID {
			known[key] = append(known[key], f)
		}
		f.sha256, f.rules = nil, nil // the next row must not write over them
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look up failed files: %w", err)
	}
	return known, nil
}

// find reads a file whose name has failed before, to see whether it is the same
// content under the same rules.
func (known failures) find(ctx context.Context, a *attempt, stores *bucket.Stores, source pipeline.Source, path bucket.Location) (load.Result, bool) {
	candidates := known[[2]string{source.Name, path.String()}]
	if len(candidates) == 0 {
		return load.Result{}, false
	}
	identity, err := extract.Identify(ctx, stores, path)
	if err != nil && identity == (extract.Identity{}) {
		return load.Result{}, false // the loader says what is wrong
	}
	for _, f := range candidates {
		var rules transform.Rules
		if string(f.sha256) != string(identity.SHA256[:]) || json.Unmarshal(f.rules, &rules) != nil || rules != source.Rules {
			continue
		}
		file := load.Result{
			Path: path.String(), Source: source.Name, Status: StatusSkipped, ErrorCode: f.code, Error: f.reason,
			SHA256: hex.EncodeToString(identity.SHA256[:]), Bytes: identity.Bytes, Faults: map[string]int64{},
		}
		if f.runID == a.runID {
			file.Status = load.StatusFailed // of this run, and it stays so
		}
		a.logger.WarnContext(ctx, "file failed before and is the same still; not tried again",
			slog.Any("path", path), slog.Int64("failed_in_run", f.runID), slog.String("error", f.reason))
		return file, true
	}
	return load.Result{}, false
}
