package main

import (
	"slices"
	"strings"
)

// kind is how a unit depends on the speed of the machine.
type kind int

const (
	relative kind = iota // ratios, bytes, pages, counts: independent
	duration             // longer on a slower machine
	rate                 // smaller on a slower machine
)

// kindOf returns the kind of a unit, such as read-µs/index, rows/s or bytes-per-row.
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

// slower returns the median ratio of a benchmark's times to the text's. A slower machine
// increases all times, so the ratio is removed before variants are compared. A single
// time cannot be compared.
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

// expected scales a figure of the text to a machine that is slower by this factor.
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
