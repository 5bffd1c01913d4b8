package load

import (
	"context"
	"encoding/hex"
	"errors"
	"io"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/pipeline/extract"
	"github.com/opentax/tally/pipeline/transform"
)

// identify takes the checksum and length of the content, and a bound of its lines.
func (l *load) identify(ctx context.Context) (err error) {
	l.proven, l.findings = nil, nil
	l.identity, l.version, l.maxLines, err = extract.IdentifyLines(ctx, l.loader.stores, l.request.Path)
	l.startOver()
	return err
}

// startOver forgets what a reading has found.
func (l *load) startOver() {
	l.cause, l.arrivedAs, l.stopped = nil, nil, false
	l.result = Result{Path: l.path, Source: l.request.Source, Bytes: l.identity.Bytes, TotalAmount: "0", Faults: map[string]int64{},
		Hints: []string{}, Warnings: []string{}}
	if l.identity != (extract.Identity{}) {
		l.result.SHA256 = hex.EncodeToString(l.identity.SHA256[:])
	}
}

// open opens the file for a reading by the rules, and by what it has shown about
// itself. The readers are missing where there is an error.
func (l *load) open(ctx context.Context) (*extract.File, *extract.Reader, *transform.Cleaner, error) {
	rules := l.request.Rules
	file, err := extract.Open(ctx, l.loader.stores, l.request.Path, rules.Dialect)
	if err != nil {
		return nil, nil, nil, err
	}
	cleaner, err := transform.NewCleaner(l.reading)
	if err == nil {
		var reader *extract.Reader
		if reader, err = extract.NewReader(file, rules.Dialect, rules.Wanted()); err == nil {
			return file, reader, cleaner, nil
		}
	}
	return nil, nil, nil, errors.Join(l.changedInstead(file, err), file.Close())
}

// reread reads the file once more, for text that was not kept the first time, and
// compares its content with what it was. The file's end is no error of do's.
func (l *load) reread(ctx context.Context, do func(*extract.Reader, *transform.Cleaner) error) (err error) {
	file, reader, cleaner, err := l.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err = do(reader, cleaner); err == nil || errors.Is(err, io.EOF) {
		_, err = io.Copy(io.Discard, file)
	}
	return l.changedInstead(file, err)
}

// changedInstead compares what was read with the first pass. A file that
// changed in between explains any other error, so it takes its place.
func (l *load) changedInstead(file *extract.File, err error) error {
	if _, bad := errors.AsType[*extract.FileError](err); err != nil && !bad {
		return err
	}
	if err != nil {
		if _, drainErr := io.Copy(io.Discard, file); errors.Is(drainErr, bucket.ErrUnavailable) {
			return drainErr // whether the file changed is not known yet
		} else if drainErr != nil {
			return err
		}
	}
	if file.Identity() == l.identity {
		return err
	}
	return &extract.FileError{Path: l.path, Code: extract.CodeFileChanged, Detail: "the file changed while it was read",
		Hint: "write it under another name and rename it when it is complete"}
}
