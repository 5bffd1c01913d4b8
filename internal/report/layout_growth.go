package report

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/opentax/tally/internal/chart"
)

// Charts are as wide as a telephone leaves readable, two beside each other on a desk.
const (
	chartWidth  = 400
	chartHeight = 160
	mostNights  = 60 // in figures; the chart has them all
	mostSizes   = 8
	mostName    = 28 // characters of a bar's name
)

func (r *Report) growthBlocks() []block {
	var charts []*picture
	if len(r.Nights) > 1 {
		charts = append(charts, r.nightChart())
	}
	if sizes := r.sizeChart(); sizes != nil {
		charts = append(charts, sizes)
	}
	blocks := make([]block, 0, 4)
	if len(charts) > 0 {
		blocks = append(blocks, block{Charts: charts})
	}
	switch len(r.Nights) {
	case 0:
		blocks = append(blocks, paragraph("No night has loaded anything yet, so nothing can be said of growth."))
	case 1:
		blocks = append(blocks, block{Table: r.nightTable()}, paragraph("One night is too few to see growth."))
	}
	if len(r.Forecasts) > 0 {
		blocks = append(blocks, block{Table: r.forecastTable()})
	}
	return blocks
}

// nightChart shows each night at its date, so that a night that was missed is a gap.
func (r *Report) nightChart() *picture {
	nights := slices.SortedFunc(slices.Values(r.Nights), func(a, b Night) int { return a.Day.Compare(b.Day) })
	loaded, rest := chart.Line{Name: "loaded"}, chart.Line{Name: "not loaded"}
	first, last := nights[0].Day, nights[len(nights)-1].Day
	at := func(t time.Time) float64 { return math.Round(t.Sub(first).Hours() / 24) }
	for _, n := range nights {
		loaded.X, loaded.Y = append(loaded.X, at(n.Day)), append(loaded.Y, float64(n.Loaded))
		rest.X, rest.Y = append(rest.X, at(n.Day)), append(rest.Y, float64(n.Rejected))
	}
	c := chart.Chart{
		Title: "Rows by night", XLabel: "night", YLabel: "rows",
		Lines: []chart.Line{loaded, rest}, Width: chartWidth, Height: chartHeight,
		Ticks: []chart.Tick{{At: 0, Name: day(first)}, {At: at(last), Name: day(last)}},
	}
	return &picture{Chart: c, Figures: r.nightTable()}
}

func (r *Report) nightTable() *table {
	nights := slices.SortedFunc(slices.Values(r.Nights), func(a, b Night) int { return b.Day.Compare(a.Day) })
	caption := "Loads by night, the newest first"
	if len(nights) > mostNights {
		caption = "Loads by night, the newest " + count(mostNights) + " of " + count(len(nights))
		nights = nights[:mostNights]
	}
	t := &table{Caption: caption, Columns: []column{
		{Name: "night"}, figures("files"), figures("rows read"), figures("loaded"), figures("not loaded"), figures("files' size"), figures("time"), figures("rows/s"),
	}}
	for _, n := range nights {
		speed := "–"
		if n.Seconds > 0 {
			speed = count(int64(float64(n.Read) / n.Seconds))
		}
		t.Rows = append(t.Rows, []cell{
			text("%s", day(n.Day)), text("%s", count(n.Files)), text("%s", count(n.Read)), text("%s", count(n.Loaded)), text("%s", count(n.Rejected)),
			text("%s", size(n.Bytes)), text("%s", took(seconds(n.Seconds))), text("%s", speed),
		})
	}
	return t
}

// sizeChart is nil where every table is empty.
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
	t := &table{Caption: "Size by table, partitions and indexes included", Columns: []column{
		{Name: "table"}, figures("rows, estimated"), figures("size"), figures("bytes a row"), figures("growth a night"),
	}}
	for i, g := range tables {
		if i < mostSizes && g.Bytes > tables[0].Bytes/200 { // a shorter bar is none
			c.Bars = append(c.Bars, chart.Bar{Name: oneLine(g.Table, mostName), Value: float64(g.Bytes) / per})
		}
		night, row := "–", "–"
		if g.BytesPerNight != 0 {
			night = size(int64(g.BytesPerNight))
		}
		if g.BytesPerRow > 0 {
			row = strconv.FormatFloat(g.BytesPerRow, 'f', 0, 64)
		}
		t.Rows = append(t.Rows, []cell{named(g.Table), text("%s", estimate(float64(g.Rows))), text("%s", size(g.Bytes)), text("%s", row), text("%s", night)})
	}
	return &picture{Chart: c, Figures: t}
}

// estimate is the planner's number of rows, which is below zero where it has none.
func estimate(rows float64) string {
	if rows < 0 {
		return "not known"
	}
	return count(int64(rows))
}

func (r *Report) forecastTable() *table {
	t := &table{Caption: "Limits, and the day on which each is met if nights go on as they have", Columns: []column{
		prose("limit"), {Name: "now", Figures: true, Prose: true}, figures("at"), figures("day"), prose("how this was computed"),
	}}
	for _, f := range r.Forecasts {
		on := cell{Text: "–"} // why not stands beside it
		if f.Day != nil {
			on.Text = day(*f.Day)
		}
		t.Rows = append(t.Rows, []cell{text("%s", f.Limit), text("%s", f.Now), text("%s", f.At), on, text("%s", f.Why)})
	}
	return t
}
