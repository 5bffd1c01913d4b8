package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// column is a measure or unit, and its heading.
type column struct{ unit, heading string }

// columns parses "unit: heading" or "unit".
func columns(specs []string) []column {
	var all []column
	for _, spec := range specs {
		unit, heading, found := strings.Cut(spec, ": ")
		if !found {
			heading = unit
		}
		all = append(all, column{unit, heading})
	}
	return all
}

// table formats a table with a row for each variant of a benchmark and a column for each
// measure. rows are "variant: label". A measured variant that is not in rows is an error.
// Without rows, the rows are the variants KEY=NUMBER of the first measure by number.
func (d *document) table(benchmark, corner string, rows []string, measures ...string) (string, error) {
	cells := columns(measures)
	labels := columns(rows)
	if len(rows) == 0 {
		var err error
		if labels, err = d.numbered(benchmark, cells[0].unit); err != nil {
			return "", err
		}
	}
	if !d.lenient {
		for _, c := range cells {
			found, err := d.results.variants(benchmark, c.unit)
			if err != nil {
				return "", err
			}
			for _, variant := range found {
				if !slices.ContainsFunc(labels, func(l column) bool { return l.unit == variant }) {
					return "", fmt.Errorf("benchmark %s: the table leaves out %s/%s", benchmark, c.unit, variant)
				}
			}
		}
	}
	lines := heading(corner, cells)
	for _, label := range labels {
		line := "| " + label.heading
		measured := false
		for _, c := range cells {
			cell := "–"
			if _, found := d.results.figures[figure{benchmark, c.unit + "/" + label.unit}]; found {
				x, err := d.fig(benchmark, c.unit+"/"+label.unit)
				if err != nil {
					return "", err
				}
				cell, measured = number(x), true
			}
			line += " | " + cell
		}
		if !measured && !d.lenient {
			return "", fmt.Errorf("benchmark %s has no variant %q", benchmark, label.unit)
		}
		lines = append(lines, line+" |")
	}
	d.last = nil
	return strings.Join(lines, "\n"), nil
}

// numbered returns the variants KEY=NUMBER of a measure, by number.
func (d *document) numbered(benchmark, measure string) ([]column, error) {
	found, err := d.results.variants(benchmark, measure)
	if err != nil {
		if d.lenient {
			return nil, nil
		}
		return nil, err
	}
	values := map[string]float64{}
	for _, variant := range found {
		_, value, _ := strings.Cut(variant, "=")
		if values[variant], err = strconv.ParseFloat(value, 64); err != nil {
			return nil, fmt.Errorf("benchmark %s: %s/%s is not KEY=NUMBER; list the rows", benchmark, measure, variant)
		}
	}
	slices.SortFunc(found, func(a, b string) int { return cmp.Compare(values[a], values[b]) })
	var labels []column
	for _, variant := range found {
		labels = append(labels, column{variant, number(values[variant])})
	}
	return labels, nil
}

// sizes formats a table with a row for each size of a benchmark and a column for each
// unit.
func (d *document) sizes(benchmark, key, corner string, units ...string) (string, error) {
	all, err := d.results.sizes(benchmark, key)
	if err != nil {
		if d.lenient {
			return "", nil
		}
		return "", err
	}
	cells := columns(units)
	lines := heading(corner, cells)
	for _, n := range all {
		line := "| " + whole(float64(n))
		for _, c := range cells {
			x, err := d.fig(fmt.Sprintf("%s/%s=%d", benchmark, key, n), c.unit)
			if err != nil {
				return "", err
			}
			line += " | " + number(x)
		}
		lines = append(lines, line+" |")
	}
	d.last = nil
	return strings.Join(lines, "\n"), nil
}

func heading(corner string, cells []column) []string {
	first, second := "| "+corner, "| ---"
	for _, c := range cells {
		first += " | " + c.heading
		second += " | ---:"
	}
	return []string{first + " |", second + " |"}
}

// difference returns the relative difference of a figure from the text's.
func difference(text, now float64) float64 {
	if text == now {
		return 0
	}
	return math.Abs(now-text) / math.Max(math.Abs(text), 1e-12)
}
