package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/opentax/tally/pipeline"
)

const (
	progressEvery = 100 * time.Millisecond
	progressSteps = 1000 // of a whole load
)

// progress draws a bar on a terminal, and nothing elsewhere: the log has the progress of
// a long load.
type progress struct {
	terminal *os.File // nil for none
	bar      *progressbar.ProgressBar
	path     string
}

func newProgress(w io.Writer) *progress {
	if file, ok := w.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		return &progress{terminal: file}
	}
	return &progress{}
}

// report is called by the load, the export or the verification.
func (p *progress) report(now pipeline.Progress) {
	if p.terminal == nil {
		return
	}
	if p.path != now.Path {
		p.finish()
		p.path = now.Path
	}
	if p.bar == nil {
		p.bar = progressbar.NewOptions(progressSteps,
			progressbar.OptionSetWriter(p.terminal), progressbar.OptionFullWidth(), progressbar.OptionClearOnFinish(),
			progressbar.OptionSetPredictTime(false), progressbar.OptionSetElapsedTime(false), progressbar.OptionThrottle(progressEvery))
	}
	p.bar.Describe(describe(now))
	_ = p.bar.Set(min(int(progressSteps*now.Share), progressSteps-1)) // a bar that cannot be drawn is no error
}

// describe is the text beside the bar: stage, rows, rows/s, time left.
func describe(now pipeline.Progress) string {
	stage := map[string]string{
		pipeline.StageRead: "reading", pipeline.StageKeys: "looking for duplicates", pipeline.StageWrite: "writing",
		pipeline.StageCommit: "committing", pipeline.StageExport: "exporting", pipeline.StageVerify: "verifying",
	}[now.Stage]
	text := fmt.Sprintf("%s, %d rows, %.0f rows/s", stage, now.Rows, float64(now.Rows)/max(now.Seconds, 1e-3))
	if now.Share > 0.02 {
		left := time.Duration(now.Seconds * (1 - now.Share) / now.Share * float64(time.Second))
		text += fmt.Sprintf(", %s left", left.Round(time.Second))
	}
	return text
}

// finish removes the bar.
func (p *progress) finish() {
	if p.bar != nil {
		_ = p.bar.Finish()
		p.bar = nil
	}
}
