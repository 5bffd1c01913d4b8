package console

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/report"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/summaries"
)

const (
	healthPath      = "/console/health"
	driftsShown     = 20
	findingsShown   = 30
	partitionsShown = 60
)

// healthPage is the state of the database and of the work on it.
type healthPage struct {
	ledger.Health
	Head       audit.Head
	Report     reportState
	Drifts     []summaries.Drift  // the first of the last verification
	Partitions []ledger.Partition // the newest first
	Earlier    string             // the month before which there are more
	First      bool               // they are the newest
}

// Verdict is the last verification's, as the style and the page have it.
func (p healthPage) Verdict() (v ledger.Verification) {
	i := slices.IndexFunc(p.Verifications, func(v ledger.Verification) bool { return v.Status != ledger.StatusRetrying })
	if i >= 0 {
		v = p.Verifications[i]
	}
	return v
}

// Findings are the first of the report, the most severe first.
func (s reportState) Findings() []report.Finding {
	return s.Last.Findings[:min(findingsShown, len(s.Last.Findings))]
}

// Count is the number of findings, and Skipped of what the report does not cover.
func (s reportState) Count() int64   { return int64(len(s.Last.Findings)) }
func (s reportState) Skipped() int64 { return int64(len(s.Last.Skipped)) }

// More is the number of findings that are not shown.
func (s reportState) More() int64 { return s.Count() - int64(len(s.Findings())) }

func (c *console) health(w http.ResponseWriter, r *http.Request) (err error) {
	p := healthPage{Report: c.reporter.state()}
	if p.Health, err = c.Ledger.Health(r.Context()); err != nil {
		return err
	}
	if p.Head, err = c.Ledger.Head(r.Context()); err != nil {
		return err
	}
	if found := p.Verdict().Found; len(found) > 0 {
		if err := json.Unmarshal(found, &p.Drifts); err != nil {
			return fmt.Errorf("read the differences of the last verification: %w", err)
		}
		p.Drifts = p.Drifts[:min(driftsShown, len(p.Drifts))]
	}
	all, err := c.Ledger.Partitions(r.Context())
	if err != nil {
		return err
	}
	p.cut(all, r.FormValue("before"))
	return c.show(w, r, "health.html", "Health", healthPath, p)
}

// cut keeps the newest partitions, or those before a month.
func (p *healthPage) cut(all []ledger.Partition, before string) {
	slices.Reverse(all)
	p.First = before == ""
	if !p.First {
		all = slices.DeleteFunc(all, func(of ledger.Partition) bool { return of.Month >= before })
	}
	if len(all) > partitionsShown {
		all = all[:partitionsShown]
		p.Earlier = all[partitionsShown-1].Month
	}
	p.Partitions = all
}

// tone is a status or severity as a class of the style.
func tone(status string) string {
	switch status {
	case ledger.StatusSucceeded, ledger.StatusClean:
		return "good"
	case ledger.StatusFailed, ledger.StatusLost, ledger.StatusDrift, string(report.Critical):
		return "bad"
	case ledger.StatusRetrying, ledger.StatusInterrupted, string(report.Warning):
		return "warning"
	default:
		return "note"
	}
}
