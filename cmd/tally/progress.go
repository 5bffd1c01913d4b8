package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/opentax/tally/pipeline"
)

// logProgressEvery is how often progress becomes a log line where there is no
// terminal to draw a bar on.
const logProgressEvery = 5 * time.Second

// progress shows how far a load is: as a bar on a terminal, as log lines
// elsewhere.
type progress struct {
	w       io.Writer
	logger  *slog.Logger
	bar     *progressbar.ProgressBar
	path    string
	started time.Time
	logged  time.Time
	draw    bool
}

func newProgress(w io.Writer, logger *slog.Logger) *progress {
	file, ok := w.(*os.File)
	return &progress{w: w, logger: logger, draw: ok && term.IsTerminal(int(file.Fd()))}
}

// report is called by the load.
func (p *progress) report(now pipeline.Progress) {
	if p.path != now.Path {
		p.path, p.started, p.logged = now.Path, time.Now(), time.Now()
		p.finish()
	}
	rate := float64(now.Rows) / max(time.Since(p.started).Seconds(), 1e-3)
	if p.draw {
		p.drawBar(now, rate)
		return
	}
	if time.Since(p.logged) >= logProgressEvery {
		p.logged = time.Now()
		p.logger.InfoContext(context.Background(), "loading", "path", now.Path, "stage", now.Stage, "rows", now.Rows,
			"rows_per_second", int64(rate), "percent", 100*now.Bytes/max(now.TotalBytes, 1))
	}
}

func (p *progress) drawBar(now pipeline.Progress, rate float64) {
	if p.bar == nil {
		p.bar = progressbar.NewOptions64(max(now.TotalBytes, 1),
			progressbar.OptionSetWriter(p.w), progressbar.OptionSetPredictTime(true), progressbar.OptionFullWidth(),
			progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(progressEvery))
	}
	what := "reading"
	if now.Stage != "read" {
		what = "loading"
	}
	p.bar.Describe(fmt.Sprintf("%s %d rows, %.0f rows/s", what, now.Rows, rate))
	_ = p.bar.Set64(min(now.Bytes, max(now.TotalBytes, 1)-1)) // a bar that cannot be drawn is no error
}

const progressEvery = 100 * time.Millisecond

// finish takes the bar away.
func (p *progress) finish() {
	if p.bar != nil {
		_ = p.bar.Finish()
		p.bar = nil
	}
}
