package console

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/jobs/ledger"
)

const (
	nightsPath = "/console/nights"
	// nightRows bounds the rows of a page, and so its size: a month of so many sources, or more
	// months of fewer.
	nightRows  = 24
	gridsShown = 12
)

// nightsPage is months of nights, the newest first.
type nightsPage struct {
	Month          string // the newest, such as 2024-02
	Grids          []grid
	Later, Earlier string // the paths of the months after and before, if there are some
	Newest         bool   // the last night is on the page
	First          string // the path of the first sources, if there are sources before
	More           string // the path of the next sources, if there are some
	Marks          []mark
}

// grid is a month of nights: a row for each source, a cell for each day.
type grid struct {
	Month, Name string // such as 2024-02 and February 2024
	Days        []day
	Rows        []gridRow
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

// mark is a state of a night: a sign, so that it does not depend on color, a name, which is its
// class too, and what it means.
type mark struct{ Sign, Name, Text string }

// The states of a night, the worst first: a cell has the first that holds.
var ( //nolint:gochecknoglobals // constants of a struct type
	markFailed     = mark{"✕", "failed", "a file or the run"}
	markUnfinished = mark{"…", "unfinished", "its run, or a file is not due yet"}
	markMissing    = mark{"–", "missing", "no file of the source"}
	markRejected   = mark{"!", "rejected", "rows, or conflicts; the others are loaded"}
	markCorrected  = mark{"c", "corrected", "rows replaced, or files reverted"}
	markLate       = mark{"l", "late", "loaded after the source's expected_by, or without one more than a day after the date had ended"}
	markLoaded     = mark{"✓", "loaded", "in time, every row"}
)

func (c *console) nights(w http.ResponseWriter, r *http.Request) error {
	sources, first, err := c.Ledger.FirstNights(r.Context())
	if err != nil {
		return err
	}
	now := time.Now().In(c.TimeZone)
	b := gridBuilder{now: now, zone: c.TimeZone, dueAt: c.DueAt, last: civil.Of(now) - 1}
	p := nightsPage{Marks: []mark{markLoaded, markLate, markCorrected, markRejected, markFailed, markMissing, markUnfinished}}
	newest, after := b.last.Month(), r.FormValue("after")
	if asked, err := time.Parse("2006-01", r.FormValue("month")); err == nil {
		newest = min(newest, civil.Of(asked).Month())
	}
	p.Month = newest.String()
	b.sources = p.cut(sources, after)
	months := civil.Month(min(gridsShown, nightRows/max(1, len(b.sources))))
	oldest := max(newest-months+1, min(newest, first.Month()))
	p.link(oldest, newest, first.Month(), b.last.Month(), after)
	nights, err := c.Ledger.Nights(r.Context(), oldest.First(), newest.Last())
	if err != nil {
		return err
	}
	b.index(nights)
	for month := newest; month >= oldest && len(sources) > 0; month-- {
		p.Grids = append(p.Grids, b.grid(month))
	}
	return c.show(w, r, "nights.html", "Nights", nightsPath, p)
}

// cut keeps the sources of the page: those after one.
func (p *nightsPage) cut(all []ledger.FirstNight, after string) (sources []ledger.FirstNight) {
	for _, source := range all {
		switch {
		case source.Source <= after:
			p.First = pathOfNights(p.Month, "")
		case len(sources) == nightRows:
			p.More = pathOfNights(p.Month, sources[nightRows-1].Source)
			return sources
		default:
			sources = append(sources, source)
		}
	}
	return sources
}

// link leads to as many months before and after.
func (p *nightsPage) link(oldest, newest, first, last civil.Month, after string) {
	months := newest - oldest + 1
	if oldest > first {
		p.Earlier = pathOfNights((oldest - 1).String(), after)
	}
	if p.Newest = newest >= last; !p.Newest {
		p.Later = pathOfNights(min(newest+months, last).String(), after)
	}
}

func pathOfNights(month, after string) string {
	query := url.Values{}
	for name, value := range map[string]string{"month": month, "after": after} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return nightsPath + "?" + query.Encode()
}

type gridBuilder struct {
	now     time.Time
	zone    *time.Location
	dueAt   func(string, civil.Date) (time.Time, bool)
	last    civil.Date // that has ended
	sources []ledger.FirstNight
	runs    map[civil.Date]ledger.Run
	nights  map[civil.Date]map[string]ledger.Night
}

// grid leaves out sources without a night in the month.
func (b *gridBuilder) grid(month civil.Month) grid {
	g := grid{Month: month.String(), Name: month.First().Time().Format("January 2006")}
	for d := month.First(); d <= month.Last(); d++ {
		weekday := d.Time().Weekday()
		g.Days = append(g.Days, day{d.Day(), weekday == time.Saturday || weekday == time.Sunday})
	}
	for _, source := range b.sources {
		row, empty := gridRow{Source: source.Source}, true
		for d := month.First(); d <= month.Last(); d++ {
			made := b.cell(source, d)
			row.Cells, empty = append(row.Cells, made), empty && made.Sign == ""
		}
		if !empty {
			g.Rows = append(g.Rows, row)
		}
	}
	return g
}

func (b *gridBuilder) index(nights ledger.Nights) {
	b.runs, b.nights = map[civil.Date]ledger.Run{}, map[civil.Date]map[string]ledger.Night{}
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
	due, set := b.dueAt(source.Source, d)
	if !set {
		due = (d + 2).Start(b.zone)
	}
	made := cell{mark: markOf(run, ran, night, read)}
	switch {
	case made.mark == markMissing && set && b.now.Before(due):
		made.mark = markUnfinished
	case made.mark == markLoaded && night.LoadedAt.After(due):
		made.mark = markLate
	}
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
	default:
		return markLoaded
	}
}

func label(d civil.Date, source string, m mark, n ledger.Night) string {
	facts := []string{m.Name}
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
