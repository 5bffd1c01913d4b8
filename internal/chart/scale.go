package chart

import (
	"math"
	"slices"
	"strconv"
)

// px is a length in pixels, written with one decimal.
type px float64

func (x px) String() string { return strconv.FormatFloat(math.Round(float64(x)*10)/10, 'f', -1, 64) }

// scale maps values to pixels.
type scale struct {
	min, max float64
	log      bool
	from, to px
}

// scaleOf covers all values and is never empty.
func scaleOf(log bool, values []float64) scale {
	s := scale{min: slices.Min(values), max: slices.Max(values), log: log}
	switch {
	case s.min < s.max:
	case log:
		s.min, s.max = s.min/2, s.max*2
	default:
		s.max = s.min + 1
	}
	return s
}

// rounded extends a logarithmic scale to powers of ten, and any other to zero, from which heights and lengths are read.
func (s scale) rounded() scale {
	if s.log {
		s.min, s.max = math.Pow(10, math.Floor(math.Log10(s.min))), math.Pow(10, math.Ceil(math.Log10(s.max)))
	} else {
		s.min, s.max = min(0, s.min), max(0, s.max)
	}
	return s
}

func (s scale) at(x float64) px {
	from, to := s.min, s.max
	if s.log {
		x, from, to = math.Log10(x), math.Log10(from), math.Log10(to)
	}
	return s.from + px((x-from)/(to-from))*(s.to-s.from)
}

// tick is a place on an axis with its label.
type tick struct {
	At    px
	Label string
}

func (s scale) ticks() []tick {
	values := s.linear()
	if s.log {
		values = s.powers()
	}
	ticks := make([]tick, len(values))
	for i, x := range values {
		ticks[i] = tick{s.at(x), short(x)}
	}
	return ticks
}

// linear are some five round numbers.
func (s scale) linear() (values []float64) {
	rough := (s.max - s.min) / 5
	step := math.Pow(10, math.Floor(math.Log10(rough)))
	for _, times := range []float64{5, 2} {
		if step*times <= rough*1.5 {
			step *= times
			break
		}
	}
	for i := math.Ceil(s.min/step - 1e-9); i*step <= s.max+step*1e-9; i++ {
		values = append(values, i*step)
	}
	return values
}

// powers are the powers of ten; of a short scale twos and fives as well, of a long one not all.
func (s scale) powers() (values []float64) {
	first, last := int(math.Floor(math.Log10(s.min)+1e-9)), int(math.Ceil(math.Log10(s.max)-1e-9))
	steps := []float64{1, 2, 5}
	if last-first > 2 {
		steps = steps[:1]
	}
	for e := first; e <= last; e += 1 + (last-first)/9 {
		for _, step := range steps {
			x := step * math.Pow(10, float64(e))
			if x >= s.min*(1-1e-9) && x <= s.max*(1+1e-9) {
				values = append(values, x)
			}
		}
	}
	return values
}

// short writes a number with at most three digits, thousands as k, M, G, T.
func short(x float64) string {
	if x == 0 { // also -0
		return "0"
	}
	units := []string{"", "k", "M", "G", "T"}
	for len(units) > 1 && math.Abs(x) >= 999.5 {
		x, units = x/1000, units[1:]
	}
	return strconv.FormatFloat(x, 'g', 3, 64) + units[0]
}
