package chart

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"unicode"
)

// drawing is a chart with the place of each of its parts, for the template.
type drawing struct {
	Chart

	Width, Height            px
	Left, Top, Right, Bottom px // of the data's area
	XTicks, YTicks           []tick
	Curves                   []curve
	Rows                     []row
}

// curve is a line, with its place in the legend.
type curve struct {
	Name      string
	Points    []point
	Plain     bool // without markers, which would run into each other
	Legend    point
	HasLegend bool
}

type point struct{ X, Y px }

// row is a bar, or a dot where Dot.
type row struct {
	Name, Label string
	Y           px // its middle
	From, To    px
	Dot         bool
}

const (
	lineHeight    = 18 // of the legend and of the axes' labels
	barHeight     = 22 // with the space to the next one
	maxMarked     = 60 // points of a line with markers
	titleHeight   = 28
	axisHeight    = 44 // ticks and label below the data
	valueWidth    = 44 // a number as [short] writes it
	legendPadding = 44 // a line's sample and the space to the next name
)

func (c Chart) layOut() drawing {
	d := drawing{Chart: c, Width: px(cmp.Or(c.Width, 680)), Top: titleHeight}
	if len(c.Lines) > 0 {
		d.addLines()
	} else {
		d.addBars()
	}
	d.Height = d.Bottom + axisHeight
	return d
}

// addLines places the legend and the name of the Y axis above the data, so that they never cover it.
func (d *drawing) addLines() {
	d.addLegend()
	d.Top += lineHeight + 4
	d.Left, d.Right = valueWidth, d.Width-valueWidth
	d.Bottom = d.Top + px(cmp.Or(d.Chart.Height, 240))
	var xs, ys []float64
	for _, l := range d.Lines {
		xs, ys = append(xs, l.X...), append(ys, l.Y...)
	}
	x, y := scaleOf(d.LogX, xs), scaleOf(d.LogY, ys).rounded()
	x.from, x.to, y.from, y.to = d.Left, d.Right, d.Bottom, d.Top
	d.XTicks, d.YTicks = x.ticks(), y.ticks()
	if len(d.Ticks) > 0 {
		d.XTicks = nil
		for _, t := range d.Ticks {
			d.XTicks = append(d.XTicks, tick{x.at(t.At), t.Name})
		}
	}
	for i, l := range d.Lines {
		for k := range l.X {
			d.Curves[i].Points = append(d.Curves[i].Points, point{x.at(l.X[k]), y.at(l.Y[k])})
		}
	}
}

// addLegend places the names in as many rows as they need; a single line needs none.
func (d *drawing) addLegend() {
	at := point{4, d.Top}
	for _, l := range d.Lines {
		wide := widthOf(l.Name) + legendPadding
		if at.X > 4 && at.X+wide > d.Width {
			at = point{4, at.Y + lineHeight}
		}
		d.Curves = append(d.Curves, curve{Name: l.Name, Plain: len(l.X) > maxMarked, Legend: at, HasLegend: len(d.Lines) > 1})
		at.X += wide
	}
	if len(d.Lines) > 1 {
		d.Top = at.Y + lineHeight
	}
}

// addBars places the names in a column of their own. On a logarithmic axis a bar's length means nothing, so there is a dot where
// it would end.
func (d *drawing) addBars() {
	values := make([]float64, len(d.Bars))
	for i, b := range d.Bars {
		values[i] = b.Value
		d.Left = max(d.Left, widthOf(b.Name)+12)
	}
	d.Right, d.Bottom = d.Width-valueWidth, d.Top+px(barHeight*len(d.Bars))
	x := scaleOf(d.LogX, values).rounded()
	x.from, x.to = d.Left, d.Right
	d.XTicks = x.ticks()
	for i, b := range d.Bars {
		from, to := x.from, x.at(b.Value)
		if !d.LogX {
			from = x.at(0)
		}
		d.Rows = append(d.Rows, row{b.Name, short(b.Value), d.Top + barHeight*(px(i)+0.5), min(from, to), max(from, to), d.LogX})
	}
}

// widthOf is at least the width of a text in any of the charts' fonts.
func widthOf(text string) (wide px) {
	for _, r := range text {
		switch {
		case r > 0x1100: // ideographs and emoji
			wide += 12
		case unicode.IsUpper(r), r == 'm', r == 'w', r == '@', r == '%':
			wide += 9
		case r == 'i', r == 'j', r == 'l', r == ' ', unicode.IsPunct(r):
			wide += 5
		default:
			wide += 6.7
		}
	}
	return wide
}

// Middle is the middle of the data's area.
func (d drawing) Middle() px { return (d.Left + d.Right) / 2 }

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
