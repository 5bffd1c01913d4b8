package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opentax/tally/jobs/ledger"
)

const (
	filesShown = 100
	linesShown = 100
	maxStreams = 64              // live pages at once, in this process
	streamFor  = 5 * time.Minute // after which a browser connects again
	liveEvery  = time.Second
)

// runPage is a run.
type runPage struct {
	Run       ledger.Run
	Counts    ledger.Counts
	Files     []ledger.File
	Reverted  map[int64]bool
	NextFiles int64 // the last file of this page, if there are more
	Lines     []ledger.LogLine
	NextLines int64 // likewise
	LastLine  int64
	Progress  *progress
}

// progress is that of the file that is being loaded.
type progress struct {
	Path    string
	Stage   string
	Rows    int64
	Percent int
}

// Finished reports whether nothing of the run follows.
func (p runPage) Finished() bool {
	return p.Run.Status == ledger.StatusSucceeded || p.Run.Status == ledger.StatusFailed
}

func runPath(id int64) string { return fmt.Sprintf("/console/runs/%d", id) }

// idOf reads an id of a path or a query; what is none has no run.
func idOf(text string) int64 {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 0 {
		return 0
	}
	return id
}

func (c *console) run(w http.ResponseWriter, r *http.Request) error {
	p, err := c.readRun(r.Context(), idOf(r.PathValue("id")), idOf(r.FormValue("files")), idOf(r.FormValue("lines")))
	if err != nil {
		return err
	}
	return c.show(w, r, "run.html", fmt.Sprint("Run ", p.Run.ID), "/console/nights", p)
}

func (c *console) readRun(ctx context.Context, id, afterFile, afterLine int64) (p runPage, err error) {
	if p.Run, err = c.Ledger.Run(ctx, id); err != nil {
		return p, err
	}
	if p.Files, err = c.Ledger.Files(ctx, id, afterFile, filesShown+1); err != nil {
		return p, err
	}
	if len(p.Files) > filesShown {
		p.Files = p.Files[:filesShown]
		p.NextFiles = p.Files[filesShown-1].ID
	}
	if p.Reverted, err = c.Ledger.Reverted(ctx, id); err != nil {
		return p, err
	}
	if p.Lines, err = c.Ledger.Logs(ctx, id, afterLine, linesShown+1); err != nil {
		return p, err
	}
	if len(p.Lines) > linesShown {
		p.Lines = p.Lines[:linesShown]
		p.NextLines = p.Lines[linesShown-1].ID
	}
	p.LastLine = afterLine
	if n := len(p.Lines); n > 0 {
		p.LastLine = p.Lines[n-1].ID
	}
	if !p.Finished() {
		if p.Progress, err = c.progress(ctx, id); err != nil {
			return p, err
		}
	}
	p.Counts, err = c.Ledger.RunCounts(ctx, id)
	return p, err
}

// progress is in the newest line of the run's log, while a file is being loaded.
func (c *console) progress(ctx context.Context, run int64) (*progress, error) {
	line, err := c.Ledger.LastLog(ctx, run)
	if err != nil || line.Message != "loading" {
		return nil, err
	}
	var p progress
	if err := json.Unmarshal(line.Attrs, &p); err != nil {
		return nil, fmt.Errorf("read the progress of run %d: %w", run, err)
	}
	return &p, nil
}

// attributes writes a log line's attributes as name=value.
func attributes(line ledger.LogLine) string {
	var attrs map[string]any
	if json.Unmarshal(line.Attrs, &attrs) != nil {
		return string(line.Attrs)
	}
	var text []string
	for _, name := range slices.Sorted(maps.Keys(attrs)) {
		text = append(text, fmt.Sprintf("%s=%v", name, attrs[name]))
	}
	return strings.Join(text, " ")
}

// events are server-sent events of a run: "run" has its state as a part of the page, and "log"
// new lines; "end" says that it is finished. A browser that connects again continues after the
// line that it had last.
func (c *console) events(w http.ResponseWriter, r *http.Request) {
	select {
	case c.streams <- struct{}{}:
		defer func() { <-c.streams }()
	default:
		c.pages.WriteProblem(w, Problem{Status: http.StatusServiceUnavailable, Title: "Too many live pages", Detail: "Reload the page to see the run as it is now."})
		return
	}
	s := &stream{console: c, w: w, run: idOf(r.PathValue("id")), after: idOf(r.FormValue("lines"))}
	if last := idOf(r.Header.Get("Last-Event-ID")); last > s.after {
		s.after = last
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("No-Gzip-Compression", "1") // events are to arrive one by one
	ctx, cancel := context.WithTimeout(r.Context(), streamFor)
	defer cancel()
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(streamFor + pageLimit)) // else the server's own holds
	for s.send(ctx) == nil {
		select {
		case <-ctx.Done():
			return
		case <-c.Stop:
			return
		case <-time.After(liveEvery):
		}
	}
}

type stream struct {
	*console
	w     http.ResponseWriter
	run   int64
	after int64  // line of the log
	sent  string // of the run's state
}

var errEnded = errors.New("the stream has ended")

func (s *stream) send(ctx context.Context) error {
	p, err := s.readRun(ctx, s.run, 0, s.after)
	if err != nil {
		return err
	}
	state, err := s.pages.part("run.html", "state", Page{Data: p, Jobs: s.Jobs, Currency: s.Currency})
	if err != nil {
		return err
	}
	if text := string(state); text != s.sent {
		s.event("run", text)
		s.sent = text
	}
	if len(p.Lines) > 0 {
		lines, err := s.pages.part("run.html", "lines", p)
		if err != nil {
			return err
		}
		s.after = p.LastLine
		s.event("log", string(lines))
	}
	if p.Finished() && p.NextLines == 0 {
		s.event("end", "")
		return errEnded
	}
	return nil
}

func (s *stream) event(name, data string) {
	fmt.Fprintf(s.w, "event: %s\nid: %d\n", name, s.after)
	for line := range strings.Lines(data + "\n") {
		fmt.Fprintf(s.w, "data: %s\n", strings.TrimSpace(line))
	}
	fmt.Fprint(s.w, "\n")
	_ = http.NewResponseController(s.w).Flush() // a client that is gone ends the context
}
