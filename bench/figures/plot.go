package main

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/opentax/tally/internal/chart"
)

// plotted is a chart of results: lines over the sizes of a benchmark, or over the
// numbers in one benchmark's variants, or bars of variants.
type plotted struct {
	name, title, x, y string
	logX, logY        bool

	benchmark string // whose results they are; of lines over sizes without the size
	key       string // of sizes; empty: variants of one benchmark
	suffix    string // of the sub-benchmarks, behind the size
	largest   string // a key whose largest size the one benchmark is of
	measure   string // what is drawn
	names     []string
}

// plots are all charts that the text may show. names are "variant: label".
func plots() []plotted {
	return []plotted{
		{name: "summary", title: "A user's count and total, ten transactions a user", x: "rows in the table", y: "server's time, µs", logX: true, logY: true,
			benchmark: "Summary", key: "rows", measure: "read-µs", names: readingWays()},
		{name: "summary-rows", title: "A user's count and total, by the user's transactions", x: "transactions of the user", y: "server's time, µs", logX: true, logY: true,
			benchmark: "SummaryRows", key: "each", measure: "read-µs", names: readingWays()},
		{name: "indexes-read", title: "One user's sum, by the table's index", x: "server's time, µs", logX: true,
			benchmark: "Indexes", largest: "rows", measure: "user-µs", names: indexNames()},
		{name: "indexes-price", title: "Adding rows by COPY, by the table's index", x: "time, of that without an index",
			benchmark: "Indexes", largest: "rows", measure: "load-of-none", names: indexNames()},
		{name: "ways", title: "Bringing rows in, by way", x: "time, of binary COPY's", logX: true,
			benchmark: "WaysToLoad", measure: "of-copy", names: loadingWays()},
		{name: "order", title: "Adding a tenth, by the order of the new keys", x: "rows in the table", y: "µs a new row", logX: true,
			benchmark: "Order", key: "rows", measure: "µs-per-new-row", names: []string{
				"sequential-ids: counting", "time-ordered-ids: time-ordered", "user-sorted: users, sorted", "user-unsorted: users, unsorted",
				"random-ids-sorted: random, sorted", "random-ids-unsorted: random, unsorted"}},
		{name: "refresh", title: "Bringing summaries up to date after a night of 1,000 rows", x: "rows in the table", y: "ms", logX: true, logY: true,
			benchmark: "Refresh", key: "rows", suffix: "/night=1000", measure: "ms", names: []string{
				"tally: Tally's, three rollups", "deltas: deltas, one rollup", "swap: new table, swapped", "upsert-all: upsert of all",
				"view: REFRESH", "view-concurrently: REFRESH CONCURRENTLY"}},
		{name: "pool", title: "Look-ups of 32 clients, by the size of the pool", x: "connections in the pool", y: "look-ups a second", logX: true,
			benchmark: "Connections/pool", measure: "per-s", names: []string{"pool-: look-ups"}},
		{name: "parallel", title: "Totals of all months, by workers and compilation", x: "server's time, ms",
			benchmark: "Parallel", largest: "rows", measure: "all-ms", names: []string{
				"workers=0-jit-off: 0 workers", "workers=1-jit-off: 1 worker", "workers=2-jit-off: 2 workers", "workers=4-jit-off: 4 workers",
				"workers=0-jit-on: 0 workers, JIT", "workers=1-jit-on: 1 worker, JIT", "workers=2-jit-on: 2 workers, JIT", "workers=4-jit-on: 4 workers, JIT"}},
		{name: "first-load", title: "A first load, all the work of a run", x: "rows in the file", y: "time, of the peer's", logX: true,
			benchmark: "FirstLoad", key: "rows", names: []string{"yardsticks: of the yardstick", "scripts: of the SQL script"}},
	}
}

func readingWays() []string {
	return []string{"user_summary: user_summary", "index: summed, index on user_id", "primary-key: summed, partitions' primary keys", "none: summed without an index"}
}

func indexNames() []string {
	return []string{
		"none: none", "user_id: B-tree (user_id)", "user_id-covering: covering (user_id) INCLUDE (amount)", "user_id-date: B-tree (user_id, date)", "user_id-hash: hash (user_id)",
		"user_id-brin: BRIN (user_id)", "date: B-tree (date)", "date-brin: BRIN (date)", "date-brin-mixed: BRIN (date), rows in no order",
	}
}

func loadingWays() []string {
	return []string{
		"copy-binary: COPY, binary", "copy-text: COPY, text", "unnest: INSERT of arrays (unnest)", "values=5000: INSERT of 5,000 rows", "values=1000: INSERT of 1,000 rows",
		"values=100: INSERT of 100 rows", "values=10: INSERT of 10 rows", "bun=1000: bun, 1,000 rows", "pipeline=1000: prepared, pipelined by 1,000",
		"pipeline=100: prepared, pipelined by 100", "prepared: prepared, row by row", "prepared-commit-each: prepared, a commit each",
	}
}

// plot returns the image of a chart, with a description for readers without images.
func (d *document) plot(name, description string) (string, error) {
	if !slices.ContainsFunc(plots(), func(p plotted) bool { return p.name == name }) {
		return "", fmt.Errorf("no plot %q", name)
	}
	d.plots = append(d.plots, name)
	return fmt.Sprintf("![%s](performance/%s.svg)", description, name), nil
}

func draw(name string, r *results) ([]byte, error) {
	i := slices.IndexFunc(plots(), func(p plotted) bool { return p.name == name })
	p := plots()[i]
	c := chart.Chart{Title: p.title, XLabel: p.x, YLabel: p.y, LogX: p.logX, LogY: p.logY}
	var err error
	switch {
	case p.key != "":
		c.Lines, err = p.overSizes(r)
	case strings.HasSuffix(p.names[0], "-: look-ups"):
		c.Lines, err = p.overVariants(r)
	default:
		c.Bars, err = p.bars(r)
	}
	if err != nil {
		return nil, fmt.Errorf("plot %s: %w", name, err)
	}
	var svg bytes.Buffer
	if err := c.WriteSVG(&svg); err != nil {
		return nil, err
	}
	return svg.Bytes(), nil
}

// unit returns the unit of a variant: MEASURE/VARIANT, or VARIANT without a measure.
func (p plotted) unit(variant string) string {
	if p.measure == "" {
		return variant
	}
	return p.measure + "/" + variant
}

func (p plotted) overSizes(r *results) (lines []chart.Line, err error) {
	sizes, err := r.sizes(p.benchmark, p.key)
	if err != nil {
		return nil, err
	}
	for _, c := range columns(p.names) {
		line := chart.Line{Name: c.heading}
		for _, n := range sizes {
			y, err := r.get(figure{fmt.Sprintf("%s/%s=%d%s", p.benchmark, p.key, n, p.suffix), p.unit(c.unit)})
			if err != nil {
				return nil, err
			}
			line.X, line.Y = append(line.X, float64(n)), append(line.Y, y)
		}
		lines = append(lines, line)
	}
	return lines, nil
}

// overVariants takes the numbers at the ends of variants for X.
func (p plotted) overVariants(r *results) ([]chart.Line, error) {
	variants, err := r.variants(p.benchmark, p.measure)
	if err != nil {
		return nil, err
	}
	prefix, label, _ := strings.Cut(p.names[0], ": ")
	points := map[float64]float64{}
	for _, variant := range variants {
		number, ours := strings.CutPrefix(variant, prefix)
		if !ours {
			continue
		}
		x, err := strconv.ParseFloat(number, 64)
		if err != nil {
			return nil, err
		}
		if points[x], err = r.get(figure{p.benchmark, p.unit(variant)}); err != nil {
			return nil, err
		}
	}
	line := chart.Line{Name: label}
	for x := range points {
		line.X = append(line.X, x)
	}
	slices.Sort(line.X)
	for _, x := range line.X {
		line.Y = append(line.Y, points[x])
	}
	return []chart.Line{line}, nil
}

func (p plotted) bars(r *results) (bars []chart.Bar, err error) {
	benchmark := p.benchmark
	if p.largest != "" {
		sizes, err := r.sizes(p.benchmark, p.largest)
		if err != nil {
			return nil, err
		}
		benchmark = fmt.Sprintf("%s/%s=%d", benchmark, p.largest, sizes[len(sizes)-1])
	}
	for _, c := range columns(p.names) {
		value, err := r.get(figure{benchmark, p.unit(c.unit)})
		if err != nil {
			return nil, err
		}
		bars = append(bars, chart.Bar{Name: c.heading, Value: value})
	}
	return bars, nil
}
