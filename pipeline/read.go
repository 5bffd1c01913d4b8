package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opentax/tally/internal/pgcopy"
)

// contradiction says that the file's own dates speak against the rule under which
// its ambiguous dates were read, which shows when all of them are known: the file is
// read again, and refuses them.
type contradiction struct{ refused separators }

// Error names the separators.
func (c *contradiction) Error() string {
	text := ""
	for _, sep := range dateSeparators {
		if c.refused.has(byte(sep)) {
			text += string(sep)
		}
	}
	return "dates contradict the rule for " + text
}

// read cleans the file on all cores: rejected rows go to the database at once, valid
// ones to a sorter.
func (l *load) read(ctx context.Context) (err error) {
	l.enter(ctx, StageRead)
	file, err := OpenFile(ctx, l.stores, l.Path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	reader, err := l.newReader(file)
	if err != nil {
		return l.changedInstead(file, err)
	}
	fileID := l.fileID
	gather := func() *rows {
		return &rows{keep: func(b []byte, r *Row) []byte { return appendRejected(b, fileID, r) }}
	}
	var faults [faultEnd]int64
	rejected, err := pgcopy.Copy(ctx, l.tx.Conn(), "etl_rejects", rejectColumns(), func(w *pgcopy.Writer) error {
		err := newCleaner(reader, gather).clean(ctx, func(r *rows) error {
			l.result.Read += r.read
			for f, n := range r.faults {
				faults[f] += n
			}
			if time.Since(l.reported) >= progressEvery {
				l.progress(file.Position(), file.Size())
			}
			if err := w.Encoded(r.reject); err != nil {
				return err
			}
			return r.each(func(p packed) error { return l.valid.Add(p) })
		})
		return l.changedInstead(file, err)
	})
	if err != nil {
		return err
	}
	if err := l.contradicted(ctx, reader); err != nil {
		return err
	}
	l.result.Rejected = rejected
	for f := Fault(1); f < faultEnd; f++ {
		if faults[f] > 0 {
			l.result.Faults[f.String()] = faults[f]
		}
	}
	if l.Rules.Exceeded(rejected, l.result.Read) {
		return &limitExceeded{&FileError{Path: l.Path.String(), Code: CodeRejectLimit,
			Detail: fmt.Sprintf("%d of %d rows rejected, over the limit of %s", rejected, l.result.Read, l.Rules.WithDefaults().RejectLimit),
			Hint:   "mend the file, or raise the source's reject_limit"}}
	}
	return nil
}

// contradicted tells what only the whole file can tell.
func (l *load) contradicted(ctx context.Context, reader *Reader) error {
	refused := l.refused
	for _, sep := range []byte(dateSeparators) {
		if reader.Contradicted(sep) && reader.evidence(sep).byRule > 0 && !refused.has(sep) {
			l.Logger.WarnContext(ctx, "the file's own dates contradict the date rule; its ambiguous dates are rejected",
				"path", l.Path, "separator", string(sep))
			refused = refused.with(sep)
		}
	}
	if refused != l.refused {
		return &contradiction{refused}
	}
	return nil
}

// What share of its time a load has taken by the end of its stages, a first load of
// a million rows.
const (
	shareRead = 0.3
	shareKeys = 0.6
)

// enter notes the stage that begins, and reports it.
func (l *load) enter(ctx context.Context, stage string) {
	now := time.Now()
	if l.stage != "" {
		l.Logger.DebugContext(ctx, "stage done", "path", l.Path, "stage", l.stage, "rows", l.result.Read, "seconds", now.Sub(l.entered).Seconds())
	}
	l.stage, l.entered = stage, now
	l.progress(0, 1)
}

// progress reports how much of the stage is done.
func (l *load) progress(done, all int64) {
	if l.Progress == nil {
		return
	}
	from, to := 0.0, shareRead
	switch l.stage {
	case StageKeys:
		from, to = shareRead, shareKeys
	case StageWrite:
		from, to = shareKeys, 1
	case StageCommit:
		from = 1
	}
	l.reported = time.Now()
	l.Progress(Progress{
		Path: l.Path.String(), Stage: l.stage, Rows: l.result.Read, Seconds: time.Since(l.started).Seconds(),
		Share: min(1, from+(to-from)*float64(done)/float64(max(all, 1))),
	})
}

// tick reports now and then, and looks at the clock for few rows only.
func (l *load) tick(done, all int64) {
	if done%1024 == 0 && time.Since(l.reported) >= progressEvery {
		l.progress(done, all)
	}
}
