package console

import (
	"net/http"
	"net/url"

	"github.com/opentax/tally/jobs/ledger"
)

// tonightPage is the state of the last night.
type tonightPage struct {
	ledger.Tonight
	Needs []need
}

// need is a [ledger.Need] with the page on which it can be dealt with.
type need struct {
	ledger.Need
	Link, LinkText string
}

// Tone is how bad it is, as a class of the style.
func (n need) Tone() string {
	if n.Cause == ledger.CauseRejects {
		return "note"
	}
	return "bad"
}

// Name is the cause for people.
func (n need) Name() string {
	if n.Fault != "" {
		return n.Fault
	}
	return n.Cause
}

// Tone is how the night went, as a class of the style.
func (t tonightPage) Tone() string {
	switch t.Verdict {
	case ledger.NightLoaded:
		return "good"
	case ledger.NightFailed, ledger.NightMissing:
		return "bad"
	case ledger.NightUnfinished:
		return "warning"
	default:
		return "note"
	}
}

func (c *console) tonight(w http.ResponseWriter, r *http.Request) error {
	t, err := c.Tonight(r.Context())
	if err != nil {
		return err
	}
	p := tonightPage{Tonight: t}
	for _, n := range t.Needs {
		p.Needs = append(p.Needs, linked(n))
	}
	return c.show(w, r, "tonight.html", "Tonight", Root, p)
}

func linked(n ledger.Need) need {
	switch {
	case n.Cause == ledger.CauseRejects:
		return need{n, "/console/rejects?" + url.Values{"source": {n.Source}, "fault": {n.Fault}}.Encode(), "Show the rows"}
	case n.RunID != 0:
		return need{n, runPath(n.RunID), "Show the run"}
	default:
		return need{Need: n}
	}
}
