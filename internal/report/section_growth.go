package report

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/opentax/tally/internal/chart"
)

// Charts are as wide as is readable on a telephone; on a desktop two are side by side.
const (
	chartWidth  = 400
	chartHeight = 160
	maxNights   = 60 // in figures; the chart has all of them
	maxBars     = 8
	maxBarName  = 28
)

func (r *Report) growthBlocks() (blocks []block) {
	var charts []*picture
	if len(r.Nights) > 1 {
		charts = append(charts, r.nightChart())
	}
	if sizes := r.sizeChart(); sizes != nil {
		charts = append(charts, sizes)
	}
	if len(charts) > 0 {
		blocks = append(blocks, block{Charts: charts})
	}
	switch len(r.Nights) {
	case 0:
		blocks = append(blocks, paragraph("No night has loaded anything yet, so nothing can be said of growth."))
	case 1:
		blocks = append(blocks, block{Table: r.nightTable()}, paragraph("One night is too few to see growth."))
	}
	return append(blocks, r.forecastTable().blocks()...)
}

// nightChart shows each night at its date, so that a missed night is a gap.
func (r *Report) nightChart() *picture {
	loaded, rest := chart.Line{Name: "loaded"}, chart.Line{Name: "not loaded"}
	nights := slices.SortedFunc(slices.Values(r.Nights), func(a, b Night) int { return a.Day.Compare(b.Day) })
	first, last := nights[0].Day, nights[len(nights)-1].Day
	at := func(t time.Time) float64 { return math.Round(t.Sub(first).Hours() / 24) }
	for _, n := range nights {
		loaded.X, loaded.Y = append(loaded.X, at(n.Day)), append(loaded.Y, float64(n.Loaded))
		rest.X, rest.Y = append(rest.X, at(n.Day)), append(rest.Y, float64(n.Rejected))
	}
	return &picture{Figures: r.nightTable(), Chart: chart.Chart{
		Title: "Rows by night", XLabel: "night", YLabel: "rows",
		Lines: []chart.Line{loaded, rest}, Width: chartWidth, Height: chartHeight,
		Ticks: []chart.Tick{{At: 0, Name: day(first)}, {At: at(last), Name: day(last)}},
	}}
}

func (r *Report) nightTable() *table {
	nights := slices.SortedFunc(slices.Values(r.Nights), func(a, b Night) int { return b.Day.Compare(a.Day) })
	caption := "Loads by night, the newest first"
	if len(nights) > maxNights {
		caption = "Loads by night, the newest " + count(maxNights) + " of " + count(len(nights))
		nights = nights[:maxNights]
	}
	t := newTable(caption, "night", ">files", ">rows read", ">loaded", ">not loaded", ">files' size", ">time", ">rows/s")
	for _, n := range nights {
		speed := "–"
		if n.Seconds > 0 {
			speed = count(float64(n.Read) / n.Seconds)
		}
		t.add(day(n.Day), count(n.Files), count(n.Read), count(n.Loaded), count(n.Rejected), size(n.Bytes), took(seconds(n.Seconds)), speed)
	}
	return t
}

// sizeChart returns nil when every table is empty.
func (r *Report) sizeChart() *picture {
	tables := slices.SortedStableFunc(slices.Values(r.Growth), func(a, b Growth) int { return cmp.Compare(b.Bytes, a.Bytes) })
	if len(tables) == 0 || tables[0].Bytes <= 0 {
		return nil
	}
	unit, per := "KiB", 1024.0
	for _, larger := range []string{"MiB", "GiB", "TiB"} {
		if float64(tables[0].Bytes) < per*1024 {
			break
		}
		unit, per = larger, per*1024
	}
	c := chart.Chart{Title: "Size by table, indexes included", XLabel: unit, YLabel: "table", Width: chartWidth}
	t := newTable("Size by table, partitions and indexes included", "table", ">rows, estimated", ">size", ">bytes a row", ">growth a night")
	for i, g := range tables {
		if i < maxBars && g.Bytes > tables[0].Bytes/200 { // a shorter bar is invisible
			c.Bars = append(c.Bars, chart.Bar{Name: oneLine(g.Table, maxBarName), Value: float64(g.Bytes) / per})
		}
		night, row := "–", "–"
		if g.BytesPerNight != 0 {
			night = size(int64(g.BytesPerNight))
		}
		if g.BytesPerRow > 0 {
			row = strconv.FormatFloat(g.BytesPerRow, 'f', 0, 64)
		}
		t.add(named(g.Table), estimate(float64(g.Rows)), size(g.Bytes), row, night)
	}
	return &picture{Chart: c, Figures: t}
}

func (r *Report) forecastTable() *table {
	t := newTable("Limits, and the day on which each is met if nights go on as they have",
		"~limit", ">~now", ">at", ">day", "~how this was computed")
	for _, f := range r.Forecasts {
		on := "–" // the last column has the reason
		if f.Day != nil {
			on = day(*f.Day)
		}
		t.add(f.Limit, f.Now, f.At, on, f.Why)
	}
	return t
}
