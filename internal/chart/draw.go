package chart

import (
	"bytes"
	"math"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

const (
	rowOf    = 18 // of a line of the legend
	textSize = 12
)

// draw lays the title and the legend above the data, so that they never cover it.
func (c Chart) draw() ([]byte, error) {
	p := plot.New()
	c.style(p)
	above := 24.0
	var legend []entry
	height := c.Height
	if len(c.Lines) > 0 {
		height = orElse(height, 300)
		if err := c.addLines(p); err != nil {
			return nil, err
		}
		if len(c.Lines) > 1 {
			legend = c.legend()
			above += 6 + rowOf*float64(1+legend[len(legend)-1].row)
		}
	} else {
		height = orElse(height, 50+22*float64(len(c.Bars)))
		if err := c.addBars(p); err != nil {
			return nil, err
		}
	}
	canvas := vgsvg.NewWith(vgsvg.UseWH(c.width(), vg.Length(height+above)))
	all := draw.New(canvas)
	title := c.text(textSize + 2)
	all.FillText(title, vg.Point{X: 4, Y: all.Max.Y - 16}, c.Title)
	for _, e := range legend {
		e.draw(all, all.Max.Y-24-vg.Length(rowOf*e.row)-rowOf/2)
	}
	p.Draw(draw.Crop(all, 0, -12, 0, -vg.Length(above)))
	var out bytes.Buffer
	_, err := canvas.WriteTo(&out)
	return out.Bytes(), err
}

func (c Chart) width() vg.Length { return vg.Length(orElse(c.Width, 680)) }

func orElse(x, otherwise float64) float64 {
	if x > 0 {
		return x
	}
	return otherwise
}

func (Chart) text(size vg.Length) draw.TextStyle {
	style := plot.New().Title.TextStyle
	style.Color, style.XAlign, style.YAlign = ink.color(), draw.XLeft, draw.YBottom
	style.Font.Size, style.Font.Typeface, style.Font.Variant = size, "Liberation", "Sans"
	return style
}

// style gives the axes the page's ink, readable sizes and ticks.
func (c Chart) style(p *plot.Plot) {
	p.BackgroundColor = nil
	p.X.Label.Text, p.Y.Label.Text = c.XLabel, c.YLabel
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Color, axis.Tick.Color = grid.color(), grid.color()
		for _, text := range []*draw.TextStyle{&axis.Label.TextStyle, &axis.Tick.Label} {
			text.Color, text.Font.Typeface, text.Font.Variant, text.Font.Size = ink.color(), "Liberation", "Sans", textSize
		}
		axis.Tick.Label.Font.Size = textSize - 1
		axis.Tick.Marker = plot.TickerFunc(linearTicks)
	}
	if c.LogX {
		p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.TickerFunc(logTicks)
	}
	if c.LogY {
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.TickerFunc(logTicks)
	}
	if len(c.Ticks) > 0 {
		var named plot.ConstantTicks
		for _, t := range c.Ticks {
			named = append(named, plot.Tick{Value: t.At, Label: t.Name})
		}
		p.X.Tick.Marker = named
	}
}

func rules() *plotter.Grid {
	g := plotter.NewGrid()
	g.Horizontal.Color, g.Vertical.Color = grid.color(), grid.color()
	g.Horizontal.Width, g.Vertical.Width = 0.5, 0.5
	return g
}

func markers() []draw.GlyphDrawer {
	return []draw.GlyphDrawer{
		draw.CircleGlyph{}, draw.SquareGlyph{}, draw.PyramidGlyph{}, draw.RingGlyph{}, draw.BoxGlyph{}, draw.TriangleGlyph{}, draw.CrossGlyph{},
	}
}

func (c Chart) addLines(p *plot.Plot) error {
	p.Add(rules())
	for i, l := range c.Lines {
		points := make(plotter.XYs, len(l.X))
		for k := range points {
			points[k] = plotter.XY{X: l.X[k], Y: l.Y[k]}
		}
		line, marks, err := plotter.NewLinePoints(points)
		if err != nil {
			return err
		}
		line.Color, line.Width = palette()[i].color(), 1.6
		marks.Color, marks.Shape, marks.Radius = palette()[i].color(), markers()[i], 3.5
		if len(points) > 60 { // a curve by itself
			p.Add(line)
			continue
		}
		p.Add(line, marks)
	}
	if !c.LogY {
		p.Y.Min = min(0, p.Y.Min) // what a line's height says is its distance from zero
	}
	c.widen(p)
	return nil
}

// widen puts the ends of logarithmic axes on ticks, and keeps an axis from having no
// length.
func (c Chart) widen(p *plot.Plot) {
	if c.LogY {
		p.Y.Min, p.Y.Max = math.Pow(10, math.Floor(math.Log10(p.Y.Min))), math.Pow(10, math.Ceil(math.Log10(p.Y.Max)))
		if p.Y.Min == p.Y.Max {
			p.Y.Max *= 10
		}
	} else if p.Y.Max <= p.Y.Min {
		p.Y.Max = p.Y.Min + 1
	}
	if p.X.Min == p.X.Max && c.LogX {
		p.X.Min, p.X.Max = p.X.Min/2, p.X.Max*2
	}
}

func (c Chart) addBars(p *plot.Plot) error {
	n := len(c.Bars)
	values, names := make(plotter.Values, n), make([]string, n)
	labels := plotter.XYLabels{XYs: make(plotter.XYs, n), Labels: make([]string, n)}
	most := 0.0
	for i, b := range c.Bars { // the axis counts from below
		at := n - 1 - i
		values[at], names[at] = b.Value, b.Name
		labels.XYs[at], labels.Labels[at] = plotter.XY{X: max(b.Value, 0), Y: float64(at)}, short(b.Value)
		most = max(most, b.Value)
	}
	g := rules()
	g.Horizontal.Width = 0
	p.Add(g)
	if c.LogX {
		if err := c.addDots(p, labels.XYs); err != nil {
			return err
		}
	} else {
		bars, err := plotter.NewBarChart(values, 13)
		if err != nil {
			return err
		}
		bars.Horizontal, bars.Color, bars.LineStyle.Width = true, palette()[0].color(), 0
		p.Add(bars)
		p.X.Min, p.X.Max = min(0, p.X.Min), orElse(most*1.1, 1)
	}
	text, err := plotter.NewLabels(labels)
	if err != nil {
		return err
	}
	for i := range text.TextStyle {
		text.TextStyle[i] = c.text(textSize - 1)
		text.TextStyle[i].YAlign = draw.YCenter
	}
	text.Offset.X = 8
	p.Add(text)
	p.NominalY(names...)
	p.Y.Width, p.Y.Tick.Width = 0, 0
	p.Y.Label.Text = "" // what the names say themselves
	p.Y.Min, p.Y.Max = -0.6, float64(n)-0.4
	return nil
}

// addDots puts a dot where a bar would end: on a logarithmic axis a bar's length says
// nothing.
func (Chart) addDots(p *plot.Plot, at plotter.XYs) error {
	dots, err := plotter.NewScatter(at)
	if err != nil {
		return err
	}
	dots.Color, dots.Shape, dots.Radius = palette()[0].color(), draw.CircleGlyph{}, 4.5
	p.Add(dots)
	p.X.Min = math.Pow(10, math.Floor(math.Log10(p.X.Min)))
	p.X.Max = math.Pow(10, math.Ceil(math.Log10(p.X.Max*1.5)))
	return nil
}

// entry is a line's name and mark in the legend.
type entry struct {
	name string
	of   int
	x    vg.Length
	row  int
	text draw.TextStyle
}

// legend lays the names out in rows.
func (c Chart) legend() []entry {
	var all []entry
	x, row := vg.Length(6), 0
	style := c.text(textSize)
	style.YAlign = draw.YCenter
	for i, l := range c.Lines {
		wide := style.Width(l.Name) + 44
		if x > 6 && x+wide > c.width() {
			x, row = 6, row+1
		}
		all = append(all, entry{l.Name, i, x, row, style})
		x += wide
	}
	return all
}

func (e entry) draw(on draw.Canvas, y vg.Length) {
	shade := palette()[e.of].color()
	on.StrokeLine2(draw.LineStyle{Color: shade, Width: 1.6}, e.x, y, e.x+22, y)
	on.DrawGlyph(draw.GlyphStyle{Color: shade, Radius: 3.5, Shape: markers()[e.of]}, vg.Point{X: e.x + 11, Y: y})
	on.FillText(e.text, vg.Point{X: e.x + 27, Y: y}, e.name)
}

// logTicks names the powers of ten, of a short axis also twos and fives, and of a long
// one not all.
func logTicks(least, most float64) []plot.Tick {
	first, last := int(math.Floor(math.Log10(least)+1e-9)), int(math.Ceil(math.Log10(most)-1e-9))
	every := 1 + (last-first)/9
	var ticks []plot.Tick
	for e := first; e <= last; e++ {
		for _, step := range []float64{1, 2, 5} {
			at := step * math.Pow(10, float64(e))
			if at < least*(1-1e-9) || at > most*(1+1e-9) || step != 1 && last-first > 1 {
				continue
			}
			label := ""
			if (e-first)%every == 0 {
				label = short(at)
			}
			ticks = append(ticks, plot.Tick{Value: at, Label: label})
		}
	}
	return ticks
}

func linearTicks(least, most float64) []plot.Tick {
	ticks := plot.DefaultTicks{}.Ticks(least, most)
	for i := range ticks {
		if ticks[i].Label != "" {
			ticks[i].Label = short(ticks[i].Value)
		}
	}
	return ticks
}

// short writes a number with at most three digits, thousands as k, M, G.
func short(x float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if math.Abs(x) >= unit.size*0.9995 {
			return digits(x/unit.size) + unit.name
		}
	}
	return digits(x)
}

func digits(x float64) string {
	text := strconv.FormatFloat(x, 'f', max(0, 2-int(math.Floor(math.Log10(math.Max(math.Abs(x), 1e-12))))), 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	if text == "-0" {
		return "0"
	}
	return text
}
