package report

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/opentax/tally/internal/chart"
)

const (
	minNights   = 3         // for a slope
	maxNight    = time.Hour // else loads are not over before people come
	maxForecast = 100 * 365 // days
	tooFew      = "there are fewer than three nights with loads in the last ninety days, so there is no slope yet"
)

// grow computes how each table grows and when a limit is met. A night adds the average of the last ninety days, days without
// a load included; bytes follow from the rows that there are.
func (c *collector) grow(ctx context.Context) {
	c.Growth, c.Forecasts = []Growth{}, []Forecast{}
	p := one[pace](ctx, c, "the pace of nights", "pace")
	if p.Nights < minNights {
		p.Loaded = 0
	}
	stored, perRow := c.transactionRows(), 0.0
	if stored > 0 {
		perRow = p.Loaded / stored
	}
	tables := []string{"transactions", "transaction_keys"}
	for _, r := range c.config.Rollups {
		if r.PerUser {
			tables = append(tables, r.Table)
		}
	}
	var bytes float64
	for _, name := range append(tables, "etl_rejects") {
		growth := c.growthOf(name)
		growth.BytesPerNight = perRow * float64(growth.Bytes)
		bytes += growth.BytesPerNight
		c.Growth = append(c.Growth, growth)
	}
	if c.Empty {
		return
	}
	c.forecastDisk(bytes)
	c.forecastMemory(perRow)
	c.forecastNight(p)
	c.forecast(Forecast{
		Limit: "the ids of transactions run out", Now: "some " + count(stored) + " rows", At: fmt.Sprintf("%.1e", float64(math.MaxInt64)),
	}, math.MaxInt64-stored, p.Loaded, count(p.Loaded)+" rows a night")
}

// pace is how fast nights are, and how much they load.
type pace struct {
	Nights int64
	Loaded float64 // rows a night
	Timed  int64   // nights that loaded something; the rest is of them
	Rows   float64 // read in a night
	PerRow float64 // seconds in the last night
	Today  float64 // seconds a row by the line through all nights
	Slope  float64 // seconds a row that each night adds
}

func (c *collector) growthOf(name string) Growth {
	growth := Growth{Table: name}
	for _, t := range c.Tables {
		if t.Name == name || t.PartitionOf == name {
			growth.Bytes += t.Bytes + t.IndexBytes
			if !t.Partitioned {
				growth.Rows += int64(max(t.Rows, float64(t.Live)))
			}
		}
	}
	if growth.Rows > 0 {
		growth.BytesPerRow = float64(growth.Bytes) / float64(growth.Rows)
	}
	return growth
}

// transactionRows returns the count of the rollup by day.
func (c *collector) transactionRows() (n float64) {
	for _, p := range c.Partitions {
		n += float64(p.Counted)
	}
	return n
}

// forecast adds a limit with the day on which the rest is used up at so much a night.
func (c *collector) forecast(f Forecast, rest, perNight float64, how string) {
	switch days := rest / perNight; {
	case f.Why != "": // why there can be no day
	case perNight <= 0:
		f.Why = tooFew
	case days > maxForecast:
		f.Why = how + "; not within a hundred years"
	default:
		day := c.At.Add(time.Duration(max(0, days) * 24 * float64(time.Hour)))
		f.Day, f.Why = &day, how
	}
	c.Forecasts = append(c.Forecasts, f)
}

func (c *collector) forecastDisk(perNight float64) {
	free := c.Machine.FreeDisk
	f := Forecast{Limit: "the disk is full", Now: size(c.Server.Bytes) + " used by the database", At: size(free) + " free"}
	if free == 0 {
		f.At = "not known"
		f.Why = "the disk of the database's folder was not looked at: it is on another machine, or is no server of Tally's own"
	}
	c.forecast(f, float64(free), perNight, size(int64(perNight))+" a night, the log not counted")
}

// forecastMemory is about the indexes into which a night writes all over: in memory a night costs processor time, and
// afterwards a read of the disk for each row.
func (c *collector) forecastMemory(perRow float64) {
	var bytes float64
	written := c.writtenAllOver()
	for _, i := range c.Indexes {
		if slices.Contains(written, i.Name) {
			bytes += float64(i.Bytes)
		}
	}
	for _, limit := range []struct {
		name  string
		bytes int64
	}{{"shared_buffers", c.setting("shared_buffers").Bytes}, {"the machine's memory", c.Machine.Memory}} {
		f := Forecast{Limit: "the indexes that every night touches no longer fit " + limit.name, Now: size(int64(bytes)), At: size(limit.bytes)}
		perNight := perRow * bytes
		switch {
		case limit.bytes == 0:
			f.At, f.Why = "not known", "the database is on another machine"
		case bytes >= float64(limit.bytes):
			f.Day, f.Why = &c.At, "they do not fit already: a night reads a page for most of its rows"
		}
		c.forecast(f, float64(limit.bytes)-bytes, perNight, size(int64(perNight))+" a night")
	}
}

// forecastNight is about a night of average size.
func (c *collector) forecastNight(p pace) {
	f := Forecast{Limit: "a night's loads take more than an hour", Now: "–", At: took(maxNight)}
	if p.Timed > 0 {
		f.Now = took(seconds(p.PerRow*p.Rows)) + " for a usual night of " + count(p.Rows) + " rows"
	}
	if p.Timed < minNights {
		p.Slope = 0
	} else if p.Slope <= 0 {
		f.Why = "nights do not get slower"
	}
	c.forecast(f, maxNight.Seconds()/p.Rows-p.Today, p.Slope, fmt.Sprintf("a row takes %s longer each night", took(seconds(p.Slope))))
}

// Charts are as wide as is readable on a telephone; on a desktop two are side by side.
const (
	chartWidth  = 400
	chartHeight = 160
	maxNights   = 60 // in figures; the chart has all of them
	maxBars     = 8
	maxBarName  = 28
)

func (r *Report) growth() (blocks []block) {
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
	return blocks
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
	largest, unit := scaled(float64(tables[0].Bytes)/1024, 1024, "KiB", "MiB", "GiB", "TiB")
	per := float64(tables[0].Bytes) / largest
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
