package console

import (
	"bytes"
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/opentax/tally/internal/panics"
	"github.com/opentax/tally/internal/report"
)

// reportWait is how long a request waits for the report that it has begun.
const reportWait = 3 * time.Second

// reporter makes one report on the database at a time, and keeps the last one.
type reporter struct {
	Config

	mu   sync.Mutex
	done chan struct{} // of the one under way; nil if there is none
	last *report.Report
	why  string // the last one that was begun was not made
}

// reportState is what a page shows of a reporter.
type reportState struct {
	Made, Making bool
	Why          string // none could be made
	Last         *report.Report
}

func (r *reporter) state() reportState {
	r.mu.Lock()
	defer r.mu.Unlock()
	return reportState{Made: r.last != nil, Making: r.done != nil, Why: r.why, Last: r.last}
}

// begin makes a report, unless one is being made. The result is closed when it is there.
func (r *reporter) begin() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done == nil {
		r.done = make(chan struct{})
		go r.run(r.done)
	}
	return r.done
}

// run belongs to no request: the one that began it may leave.
func (r *reporter) run(done chan struct{}) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-r.Stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	made, err := r.make(ctx)
	why := ""
	if err != nil {
		why = r.Problem(ctx, err).Detail // which logs the cause
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		r.last = made
	}
	r.why, r.done = why, nil
	close(done)
}

func (r *reporter) make(ctx context.Context) (made *report.Report, err error) {
	defer panics.Recover(&err)
	return r.Report(ctx)
}

// makeReport begins a report and leads to the page that shows it.
func (c *console) makeReport(w http.ResponseWriter, r *http.Request) error {
	select {
	case <-c.reporter.begin():
	case <-time.After(reportWait):
	case <-r.Context().Done():
	}
	http.Redirect(w, r, healthPath+"#report", http.StatusSeeOther)
	return nil
}

// wholeReport answers with a file: the last report, as tally report writes it.
func (c *console) wholeReport(w http.ResponseWriter, r *http.Request) error {
	state := c.reporter.state()
	if !state.Made {
		http.Redirect(w, r, healthPath+"#report", http.StatusSeeOther)
		return nil
	}
	var body bytes.Buffer
	if err := report.WriteHTML(&body, state.Last); err != nil {
		return err
	}
	attach(w, "text/html; charset=utf-8", "tally-report-"+state.Last.At.Format("20060102-150405")+".html", &body)
	return nil
}
