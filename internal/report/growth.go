package report

import (
	"fmt"
	"math"
	"slices"
	"time"
)

const (
	// fewNights are too few for a slope.
	fewNights = 3
	// longNight is when the night's loads are no longer over before people come.
	longNight = time.Hour
	// farAhead is as far as a forecast goes.
	farAhead = 100 * 365
	// lastSerial is where a bigint ends.
	lastSerial = math.MaxInt64
)

// grown are the tables that grow with transactions, with what a row of each stands for.
func (g *gathering) grown() []string {
	return slices.Concat([]string{"transactions", "transaction_keys"}, g.perUser(), []string{"etl_rejects"})
}

// grow says how each table grows and when a limit is met. What a night adds is what
// nights have added on average in the last ninety days, days without a load counted
// too; bytes follow from the rows that there are.
func (g *gathering) grow() {
	g.Growth, g.Forecasts = []Growth{}, []Forecast{}
	loaded, known := g.perNight(func(n Night) float64 { return float64(n.Loaded) })
	stored := g.transactionRows()
	for _, name := range g.grown() {
		growth := g.growthOf(name)
		if known && stored > 0 {
			growth.BytesPerNight = loaded * float64(growth.Bytes) / stored
		}
		g.Growth = append(g.Growth, growth)
	}
	if g.Empty {
		return
	}
	g.forecastDisk(known)
	g.forecastMemory(known, loaded, stored)
	g.forecastNight()
	g.forecastNumbers(known, loaded, stored)
}

// recent are the nights of the last ninety days.
func (g *gathering) recent() []Night {
	return slices.DeleteFunc(slices.Clone(g.Nights), func(n Night) bool { return g.At.Sub(n.Day) > 90*24*time.Hour })
}

// perNight is an average over the days from the first recent night on. The first load
// is often years at once, so it is left out where others follow.
func (g *gathering) perNight(of func(Night) float64) (float64, bool) {
	nights := g.recent()
	if len(nights) < fewNights {
		return 0, false
	}
	if len(g.Nights) == len(nights) {
		nights = nights[1:]
	}
	sum := 0.0
	for _, n := range nights {
		sum += of(n)
	}
	days := nights[len(nights)-1].Day.Sub(nights[0].Day).Hours()/24 + 1
	return sum / days, sum > 0
}

func (g *gathering) growthOf(name string) Growth {
	growth := Growth{Table: name}
	for _, t := range g.Tables {
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

// transactionRows is how many there are, as the rollup by day counts them.
func (g *gathering) transactionRows() (n float64) {
	for _, p := range g.Partitions {
		n += float64(p.Counted)
	}
	return n
}

// touched are the indexes into which every load writes all over.
func (g *gathering) touched() []string {
	indexes := []string{"transaction_keys_pkey"}
	for _, table := range g.perUser() {
		indexes = append(indexes, table+"_pkey")
	}
	return indexes
}

const tooFew = "there are fewer than three nights with loads in the last ninety days, so there is no slope yet"

// forecastDisk adds up what all tables grow by.
func (g *gathering) forecastDisk(known bool) {
	f := Forecast{Limit: "the disk is full", Now: size(g.Server.Bytes) + " used by the database"}
	perNight := 0.0
	for _, growth := range g.Growth {
		perNight += growth.BytesPerNight
	}
	switch {
	case g.Machine.FreeDisk == 0:
		f.At, f.Why = "not known", "the disk of the database's folder was not looked at: it is on another machine, or is no server of Tally's own"
	case !known:
		f.At, f.Why = size(g.Machine.FreeDisk)+" free", tooFew
	default:
		f.At = size(g.Machine.FreeDisk) + " free"
		f.Day, f.Why = g.in(float64(g.Machine.FreeDisk)/perNight, size(int64(perNight))+" a night, the log not counted")
	}
	g.Forecasts = append(g.Forecasts, f)
}

// forecastMemory looks at the indexes into which a night writes all over: while they
// are in memory a night costs processor time, and afterwards a read of the disk a row.
func (g *gathering) forecastMemory(known bool, loaded, stored float64) {
	var bytes float64
	touched := g.touched()
	for _, i := range g.Indexes {
		if slices.Contains(touched, i.Name) {
			bytes += float64(i.Bytes)
		}
	}
	for _, limit := range []struct {
		name  string
		bytes int64
	}{{"shared_buffers", g.setting("shared_buffers").Bytes}, {"the machine's memory", g.Machine.Memory}} {
		f := Forecast{
			Limit: "the indexes that every night touches no longer fit " + limit.name,
			Now:   size(int64(bytes)), At: size(limit.bytes),
		}
		switch {
		case limit.bytes == 0:
			f.At, f.Why = "not known", "the database is on another machine"
		case bytes >= float64(limit.bytes):
			now := g.At
			f.Day, f.Why = &now, "they do not fit already: a night reads a page for most of its rows"
		case !known || stored == 0:
			f.Why = tooFew
		default:
			perNight := loaded * bytes / stored
			f.Day, f.Why = g.in((float64(limit.bytes)-bytes)/perNight, size(int64(perNight))+" a night")
		}
		g.Forecasts = append(g.Forecasts, f)
	}
}

// forecastNight fits a line through the seconds of recent nights, in which the size of
// the night is taken out: seconds for each row, times the rows of a usual night.
func (g *gathering) forecastNight() {
	f := Forecast{Limit: "a night's loads take more than an hour", At: took(longNight)}
	var x, y []float64
	usual := 0.0
	for _, n := range g.recent() {
		if n.Loaded > 0 && n.Seconds > 0 {
			x, y = append(x, n.Day.Sub(g.At).Hours()/24), append(y, n.Seconds/float64(n.Read))
			usual += float64(n.Read)
		}
	}
	if len(x) == 0 {
		f.Now, f.Why = "–", tooFew
		g.Forecasts = append(g.Forecasts, f)
		return
	}
	usual /= float64(len(x))
	last := y[len(y)-1] * usual
	f.Now = took(seconds(last)) + " for a usual night of " + count(int64(usual)) + " rows"
	if len(x) < fewNights {
		f.Why = tooFew
		g.Forecasts = append(g.Forecasts, f)
		return
	}
	at, slope := regression(x, y)
	if slope <= 0 {
		f.Why = "nights do not get slower"
	} else {
		f.Day, f.Why = g.in((longNight.Seconds()/usual-at)/slope, fmt.Sprintf("a row takes %s longer each night", took(seconds(slope))))
	}
	g.Forecasts = append(g.Forecasts, f)
}

// regression is the line y = at + slope·x with the least squares of distances.
func regression(x, y []float64) (at, slope float64) {
	n := float64(len(x))
	var meanX, meanY, xy, xx float64
	for i := range x {
		meanX, meanY = meanX+x[i]/n, meanY+y[i]/n
	}
	for i := range x {
		xy, xx = xy+(x[i]-meanX)*(y[i]-meanY), xx+(x[i]-meanX)*(x[i]-meanX)
	}
	slope = xy / xx
	return meanY - slope*meanX, slope
}

// forecastNumbers is of the ids of transactions, which are a bigint's.
func (g *gathering) forecastNumbers(known bool, loaded, stored float64) {
	f := Forecast{Limit: "the ids of transactions run out", Now: "some " + count(int64(stored)) + " rows", At: fmt.Sprintf("%.1e", float64(lastSerial))}
	if !known {
		f.Why = tooFew
	} else {
		f.Day, f.Why = g.in((lastSerial-stored)/loaded, count(int64(loaded))+" rows a night")
	}
	g.Forecasts = append(g.Forecasts, f)
}

// in is the day so many days ahead.
func (g *gathering) in(days float64, why string) (*time.Time, string) {
	if days > farAhead || math.IsNaN(days) {
		return nil, why + "; not within a hundred years"
	}
	day := g.At.Add(time.Duration(max(0, days) * 24 * float64(time.Hour)))
	return &day, why
}
