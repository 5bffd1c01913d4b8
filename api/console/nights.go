package console

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/jobs/ledger"
)

// sourcesShown bounds the rows of a grid, and so the size of its page.
const sourcesShown = 25

// grid is a month of nights: a row for each source, a cell for each day.
type grid struct {
	Month, Previous, Next  string // such as 2024-02; without a next: ""
	PreviousYear, NextYear string
	Days                   []day
	Rows                   []gridRow
	Before                 bool   // there are sources before
	After                  string // the last source, if there are more
	Marks                  []mark
}

type day struct {
	Number  int
	Weekend bool
}

type gridRow struct {
	Source string
	Cells  []cell
}

type cell struct {
	mark
	Path, Label string
}

// mark is a state of a night: a sign, so that it does not depend on color, and a class.
type mark struct{ Sign, Class, Text string }

// The states of a night, the worst first: a cell has the first that holds.
var ( //nolint:gochecknoglobals // constants of a struct type
	markFailed     = mark{"✕", "failed", "a file or the run failed"}
	markUnfinished = mark{"…", "unfinished", "its run is not finished"}
	markMissing    = mark{"–", "missing", "no file"}
	markRejected   = mark{"!", "rejected", "loaded, with rejected rows or conflicts"}
	markCorrected  = mark{"c", "corrected", "loaded, with corrections: rows replaced or files reverted"}
	markLate       = mark{"l", "late", "loaded more than a day late"}
	markLoaded     = mark{"✓", "loaded", "loaded"}
)

func (c *console) nights(w http.ResponseWriter, r *http.Request) error {
	last := civil.Of(time.Now().In(c.TimeZone)) - 1
	month, _ := last.Split()
	if asked, err := time.Parse("2006-01", r.FormValue("month")); err == nil {
		month, _ = civil.Of(asked).Split()
	}
	nights, err := c.Ledger.Nights(r.Context(), month.First(), month.Last())
	if err != nil {
		return err
	}
	g := newGrid(nights, month, last, r.FormValue("after"))
	return c.show(w, r, "nights.html", "Nights of "+month.First().Time().Format("January 2006"), "/console/nights", g)
}

func newGrid(nights ledger.Nights, month civil.Month, last civil.Date, after string) grid {
	g := grid{
		Month: month.String(), Previous: (month - 1).String(), Next: (month + 1).String(),
		PreviousYear: (month - 12).String(), NextYear: (month + 12).String(),
		Marks: []mark{markLoaded, markLate, markCorrected, markRejected, markFailed, markMissing, markUnfinished},
	}
	if month.Last() >= last {
		g.Next, g.NextYear = "", ""
	}
	for d := month.First(); d <= month.Last(); d++ {
		weekday := d.Time().Weekday()
		g.Days = append(g.Days, day{d.Day(), weekday == time.Saturday || weekday == time.Sunday})
	}
	b := gridBuilder{last: last, runs: map[civil.Date]ledger.Run{}, nights: map[civil.Date]map[string]ledger.Night{}}
	b.index(nights)
	for _, source := range nights.Sources {
		if source.Source <= after {
			g.Before = true
			continue
		}
		if len(g.Rows) == sourcesShown {
			g.After = g.Rows[sourcesShown-1].Source
			break
		}
		row := gridRow{Source: source.Source}
		for d := month.First(); d <= month.Last(); d++ {
			row.Cells = append(row.Cells, b.cell(source, d))
		}
		g.Rows = append(g.Rows, row)
	}
	return g
}

type gridBuilder struct {
	last   civil.Date
	runs   map[civil.Date]ledger.Run
	nights map[civil.Date]map[string]ledger.Night
}

func (b *gridBuilder) index(nights ledger.Nights) {
	for _, r := range nights.Runs {
		b.runs[r.LogicalDate] = r
	}
	for _, n := range nights.Nights {
		if b.nights[n.Date] == nil {
			b.nights[n.Date] = map[string]ledger.Night{}
		}
		b.nights[n.Date][n.Source] = n
	}
}

// cell is the night of a source. A source has none before its first file, and none of the
// source that stands for paths given by hand is missing.
func (b *gridBuilder) cell(source ledger.FirstNight, d civil.Date) cell {
	run, ran := b.runs[d]
	night, read := b.nights[d][source.Source]
	if !read && (d < source.Date || d > b.last || source.Source == ledger.SourceManual) {
		return cell{}
	}
	made := cell{mark: markOf(run, ran, night, read)}
	if id := max(night.RunID, 0); id != 0 {
		made.Path = runPath(id)
	} else if ran {
		made.Path = runPath(run.ID)
	}
	made.Label = label(d, source.Source, made.mark, night)
	return made
}

func markOf(run ledger.Run, ran bool, n ledger.Night, read bool) mark {
	finished := run.Status == ledger.StatusSucceeded || run.Status == ledger.StatusFailed
	switch {
	case n.Failed > 0, !read && run.Status == ledger.StatusFailed:
		return markFailed
	case ran && !finished:
		return markUnfinished
	case n.Files == 0:
		return markMissing
	case n.Replaced+n.Reverted > 0:
		return markCorrected
	case n.Rejected > 0:
		return markRejected
	case n.Late:
		return markLate
	default:
		return markLoaded
	}
}

func label(d civil.Date, source string, m mark, n ledger.Night) string {
	facts := []string{m.Text}
	add := func(count int64, noun string) {
		if count > 0 {
			facts = append(facts, plural(count, noun))
		}
	}
	if n.Read > 0 {
		facts = append(facts, fmt.Sprintf("%s of %s loaded", grouped(n.Loaded), plural(n.Read, "row")))
	}
	add(n.Rejected, "reject")
	add(n.Replaced, "replaced row")
	add(n.Reverted, "reverted file")
	add(n.Failed, "failed file")
	return fmt.Sprintf("%s, %s: %s", d, source, strings.Join(facts, ", "))
}
