package main

import (
	"slices"
	"strings"
)

// kind says what a unit depends on.
type kind int

const (
	relative kind = iota // shares, bytes, pages, counts: the same on any machine, or nearly
	duration             // longer on a slower machine
	rate                 // less on a slower machine
)

// kindOf tells from a unit, such as read-µs/index, rows/s or bytes-per-row.
func kindOf(unit string) kind {
	measure, _, _ := strings.Cut(unit, "/")
	switch {
	case strings.HasSuffix(unit, "/s") || measure == "per-s" || measure == "rows-per-s":
		return rate
	case unit == "ns/op":
		return duration
	}
	for part := range strings.SplitSeq(measure, "-") {
		if slices.Contains([]string{"ns", "µs", "ms", "s"}, part) {
			return duration
		}
	}
	return relative
}

// slower is how much longer a benchmark's times are than the text's, in the middle of
// them: a slower machine makes all of them longer, and that is no difference between
// the variants. Of a single figure nothing is left to compare.
func (d *document) slower(benchmark string, measured *results) (times float64) {
	var all []float64
	for _, f := range d.used {
		now, err := measured.get(f)
		if f.benchmark != benchmark || err != nil || d.values[f] <= 0 || now <= 0 {
			continue
		}
		switch kindOf(f.unit) {
		case duration:
			all = append(all, now/d.values[f])
		case rate:
			all = append(all, d.values[f]/now)
		case relative:
		}
	}
	if len(all) == 0 {
		return 1
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// expected is what the text's figure would be on a machine that is so many times slower.
func expected(f figure, said, slower float64) float64 {
	switch kindOf(f.unit) {
	case duration:
		return said * slower
	case rate:
		return said / slower
	case relative:
	}
	return said
}
