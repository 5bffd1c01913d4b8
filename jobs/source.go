package jobs

import (
	"context"
	"errors"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/extract"
	"github.com/opentax/tally/pipeline/load"
)

// sourceLoad is an attempt's load of the files of one source.
type sourceLoad struct {
	service  *Service
	attempt  *attempt
	source   pipeline.Source
	failures failures
	known    *load.Known // the files that are as they were when they were last read
	watch    *watch      // the files whose writers may not have finished
	result   *RunResult
	failed   *FilesError

	unchanged, unlisted int
}

// run loads the files of the source in order, and those that had to settle after the
// others. Its error stops the source; errors of a file or of the listing are added to
// failed.
func (l *sourceLoad) run(ctx context.Context) error {
	a := l.attempt
	files, err := a.list(ctx, l.service.config.Stores, l.source)
	if err != nil && stops(ctx, err) {
		return err
	}
	if err != nil {
		a.logger.ErrorContext(ctx, "source cannot be listed", "source", l.source.Name, "error", err)
		l.failed.Other = append(l.failed.Other, err)
		return nil
	}
	a.logger.InfoContext(ctx, "source listed", "source", l.source.Name, "files", len(files))
	if !a.full {
		if l.known, err = l.service.config.Loader.Known(ctx, l.request(ctx, bucket.Entry{}), files); err != nil {
			return err
		}
	}
	l.watch = newWatch(l.source.SettleTime(), l.service.growingAfter, a.logger)
	for _, file := range files {
		if err := l.file(ctx, file); err != nil {
			return err
		}
	}
	for {
		file, more, err := l.watch.next(ctx)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		if err := l.file(ctx, file); err != nil {
			return err
		}
	}
	if l.unchanged > 0 {
		a.logger.InfoContext(ctx, "files unchanged; nothing to do", "source", l.source.Name, "files", l.unchanged)
	}
	return l.watch.err()
}

// file loads a file, unless it is known or its writer may not have finished.
func (l *sourceLoad) file(ctx context.Context, file bucket.Entry) error {
	result, known, err := l.known.Unchanged(ctx, file.Location)
	done := known
	if !known && err == nil {
		result, done, err = l.read(ctx, file)
	}
	aside, isAside := errors.AsType[asideError](err)
	switch {
	case errors.Is(err, load.ErrChanged) && ctx.Err() == nil:
		l.watch.add(ctx, file)
	case isAside:
		l.attempt.aside = append(l.attempt.aside, aside)
	case err != nil && stops(ctx, err):
		return err
	case err != nil:
		l.attempt.logger.ErrorContext(ctx, "file not loaded", "path", file.Location, "error", err)
		l.failed.Other = append(l.failed.Other, err)
	case known && l.attempt.kind != ledger.KindManual:
		l.countUnchanged()
		l.unlisted++ // they are too many
	case done:
		l.add(result)
	}
	return nil
}

// read loads a file that is not known to be loaded; false where it is to be read later.
func (l *sourceLoad) read(ctx context.Context, file bucket.Entry) (load.Result, bool, error) {
	identity, known := l.known.Identity(file.Location)
	if !known && !l.watch.settled(file) {
		return load.Result{}, false, ctx.Err()
	}
	if result, failed, err := l.failedBefore(ctx, file, identity); failed || err != nil {
		return result, failed, err
	}
	if err := ctx.Err(); err != nil {
		return load.Result{}, false, err
	}
	defer l.known.Learned()
	result, err := l.service.tryFile(ctx, l.attempt, l.request(ctx, file))
	return result, err == nil, err
}

func (l *sourceLoad) add(file load.Result) {
	l.result.Files = append(l.result.Files, file)
	switch file.Status {
	case load.StatusFailed:
		l.failed.Failed = append(l.failed.Failed, file)
	case load.StatusUnchanged:
		l.countUnchanged()
	}
}

func (l *sourceLoad) countUnchanged() {
	l.unchanged++
	l.result.Unchanged++
}

// failedBefore is the result of a file that failed before and is unchanged. Only a file whose
// name has failed before is read for it, and only if its content is not known.
func (l *sourceLoad) failedBefore(ctx context.Context, file bucket.Entry, identity extract.Identity) (load.Result, bool, error) {
	if len(l.failures.of(l.source, file.Location)) == 0 {
		return load.Result{}, false, nil
	}
	var version bucket.Version
	if identity == (extract.Identity{}) {
		var err error
		identity, version, err = extract.Identify(ctx, l.service.config.Stores, file.Location)
		if err != nil && identity == (extract.Identity{}) {
			return load.Result{}, false, nil // the loader reports the error
		}
	}
	result, failed := l.failures.match(ctx, l.attempt, l.source, file.Location, identity)
	if !failed {
		return result, false, nil
	}
	return result, true, l.known.Observe(ctx, file.Location, identity, version)
}

func (l *sourceLoad) request(ctx context.Context, file bucket.Entry) load.Request {
	a := l.attempt
	request := load.Request{
		RunID: a.runID, Attempt: a.number, Source: l.source.Name, Path: file.Location, Rules: l.source.Rules, LogicalDate: a.date,
		Learns: l.source.Name != manualSource, Again: a.kind == ledger.KindManual,
		CodeVersion: l.service.config.CodeVersion, Progress: a.report(ctx), Logger: a.logger,
	}
	if _, local := file.Local(); local && l.source.SettleTime() > 0 {
		request.Chosen = file.Version
	}
	return request
}
