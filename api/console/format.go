package console

import (
	"fmt"
	"html/template"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/internal/report"
	"github.com/opentax/tally/jobs/ledger"
)

// functions are those of reports, and of pages besides.
func functions() template.FuncMap {
	own := template.FuncMap{"time": timeElement, "took": took, "bar": newBar, "attributes": attributes, "plural": plural, "tone": tone,
		"list": func(words ...string) []string { return words }}
	all := report.Units()
	maps.Copy(all, own)
	return all
}

// timeElement writes a time in UTC, which the script rewrites in the viewer's zone.
func timeElement(t time.Time) template.HTML {
	if t.IsZero() {
		return ""
	}
	t = t.UTC()
	//nolint:gosec // a time has no markup
	return template.HTML(fmt.Sprintf(`<time datetime="%s">%s</time>`, t.Format(time.RFC3339), t.Format("2006-01-02 15:04:05 UTC")))
}

// took writes the time between two moments.
func took(from, to time.Time) string {
	switch d := to.Sub(from); {
	case from.IsZero() || to.IsZero():
		return ""
	case d < time.Second:
		return fmt.Sprint(d.Milliseconds(), " ms")
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	default:
		return strings.TrimSuffix(d.Round(time.Second).String(), "0s")
	}
}

func amountText(amount money.Sum, currency string) string {
	text := report.Grouped(string(amount.AppendJSON(nil)))
	if currency != "" {
		text += "\u00a0" + currency
	}
	return text
}

func plural(n int64, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return grouped(n) + " " + noun
}

func grouped(n int64) string { return report.Grouped(strconv.FormatInt(n, 10)) }

// bar is a bar of what became of rows; its segments add up to the rows read.
type bar struct {
	Read     int64
	Segments []segment
}

type segment struct {
	Name  string // the class too
	Rows  int64
	X, To float64 // in hundredths of the bar
}

// Width is a segment's, without the gap to the next.
func (s segment) Width() string { return fmt.Sprintf("%.3f", max(s.To-s.X, 0)) }

// Left is where a segment begins.
func (s segment) Left() string { return fmt.Sprintf("%.3f", s.X) }

func newBar(c ledger.Counts) bar {
	b := bar{Read: c.Read}
	done := int64(0)
	for _, s := range []segment{{Name: "loaded", Rows: c.Loaded}, {Name: "duplicate", Rows: c.Duplicate}, {Name: "conflict", Rows: c.Conflict}, {Name: "rejected", Rows: c.Rejected}} {
		if c.Read > 0 {
			s.X = 100 * float64(done) / float64(c.Read)
			done += s.Rows
			s.To = 100 * float64(done) / float64(c.Read)
		}
		b.Segments = append(b.Segments, s)
	}
	return b
}
