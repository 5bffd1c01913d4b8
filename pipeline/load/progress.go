package load

import (
	"context"
	"time"

	"github.com/opentax/tally/pipeline"
)

const (
	// progressEvery keeps the cost of progress away from the rows.
	progressEvery = 100 * time.Millisecond

	// What share of its time a load has taken by the end of its stages, a first load of
	// a million rows.
	shareRead = 0.3
	shareKeys = 0.6
)

// enter notes the stage that begins, and reports it.
func (l *load) enter(ctx context.Context, stage string) {
	now := time.Now()
	if l.stage != "" {
		l.request.Logger.DebugContext(ctx, "stage done", "path", l.path, "stage", l.stage, "rows", l.result.Read, "seconds", now.Sub(l.entered).Seconds())
	}
	l.stage, l.entered = stage, now
	l.progress(0, 1)
}

// progress reports how much of the stage is done.
func (l *load) progress(done, all int64) {
	if l.request.Progress == nil {
		return
	}
	from, to := 0.0, shareRead
	switch l.stage {
	case pipeline.StageKeys:
		from, to = shareRead, shareKeys
	case pipeline.StageWrite:
		from, to = shareKeys, 1
	case pipeline.StageCommit:
		from = 1
	}
	l.reported = time.Now()
	l.request.Progress(pipeline.Progress{
		Path: l.path, Stage: l.stage, Rows: l.result.Read, Seconds: time.Since(l.started).Seconds(),
		Share: min(1, from+(to-from)*float64(done)/float64(max(all, 1))),
	})
}

// tick reports now and then, and looks at the clock for few rows only.
func (l *load) tick(done, all int64) {
	if done%1024 == 0 && time.Since(l.reported) >= progressEvery {
		l.progress(done, all)
	}
}
