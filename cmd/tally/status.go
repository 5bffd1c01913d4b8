package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/opentax/tally/jobs"
	"github.com/opentax/tally/jobs/ledger"
)

// maxNeeds bounds the needs that are printed: the whole should be ten lines.
const maxNeeds = 2

type statusCmd struct {
	JSON bool `help:"Print one JSON document, with all that needs action."`
}

func (cmd statusCmd) Run(ctx context.Context, env *environment) error {
	return env.withService(ctx, func(service *jobs.Service) error {
		tonight, err := service.Tonight(ctx)
		if err != nil {
			return err
		}
		if cmd.JSON {
			return writeJSON(env.stdout, tonight)
		}
		return env.terminal.printStatus(env.stdout, tonight)
	})
}

// printStatus writes the state of the last night for people, in the time zone of its
// midnights.
func (t terminal) printStatus(w io.Writer, now ledger.Tonight) error {
	zone, err := time.LoadLocation(now.TimeZone)
	if err != nil {
		return err
	}
	at := func(moment time.Time) string { return moment.In(zone).Format("2006-01-02 15:04 MST") }
	var b strings.Builder
	line := func(title, format string, values ...any) {
		fmt.Fprintf(&b, "%s%*s%s\n", t.paint(bold, title), 12-len(title), "", printable(fmt.Sprintf(format, values...)))
	}
	fmt.Fprintf(&b, "%s       %s\n", t.paint(bold, "night"), t.paint(colorOf(now.Verdict), verdict(now)))
	if c := now.Counts; now.Run != nil {
		line("files", "%d loaded, %d failed", c.Files, c.Failed)
		line("rows", "%d read: %d loaded, %d duplicate, %d conflict, %d rejected", c.Read, c.Loaded, c.Duplicate, c.Conflict, c.Rejected)
	}
	if now.Data.Number > 0 {
		line("summaries", "as of %s, change %d", at(now.Data.At), now.Data.Number)
	} else {
		line("summaries", "no data yet")
	}
	if v := now.Verified; v.Status == "" {
		line("verified", "not yet")
	} else {
		line("verified", "%s, %d differences, %s", v.Status, v.Differences, at(v.At))
	}
	next := fmt.Sprintf("the night of %s, at %s", now.Next.Date, at(now.Next.At))
	for _, e := range now.Next.Expected {
		next += fmt.Sprintf("; %s by %s", e.Source, at(e.By))
	}
	line("next", "%s", next)
	if len(now.Needs) == 0 {
		line("to do", "nothing")
	}
	for _, n := range now.Needs[:min(len(now.Needs), maxNeeds)] {
		line("to do", "%s", n.What)
		line("", "%s", n.NextStep)
	}
	if more := len(now.Needs) - maxNeeds; more > 0 {
		line("", "and %d more: tally status --json", more)
	}
	_, err = io.WriteString(w, b.String())
	return err
}

// verdict is the first line: the state of the last nightly run.
func verdict(t ledger.Tonight) string {
	switch t.Verdict {
	case ledger.NightLoaded:
		return fmt.Sprintf("%s is complete (run %d)", t.Date, t.Run.ID)
	case ledger.NightFailed:
		return fmt.Sprintf("%s failed (run %d)", t.Date, t.Run.ID)
	case ledger.NightUnfinished:
		return fmt.Sprintf("%s is not complete: run %d is %s", t.Date, t.Run.ID, t.Run.Status)
	case ledger.NightMissing:
		return fmt.Sprintf("%s has no run", t.Date)
	default:
		return "there was none yet"
	}
}
