// Package chart draws line and bar charts as SVG that is readable on light and dark
// pages, in a document or in an <img>: the page's background shows through, and the
// colors follow prefers-color-scheme. Lines differ by their markers as well as by
// color. The same chart gives the same bytes, so a drawing can be compared with a
// committed one.
//
// A chart that cannot be drawn truthfully (no points, a zero on a logarithmic axis, a
// value that is no number) is an error that names the line.
package chart

import (
	"bytes"
	"cmp"
	_ "embed" // for the drawing
	"errors"
	"fmt"
	"html/template"
	"io"
	"math"
	"strings"
	"unicode"
)

//go:embed chart.svg.tmpl
var source string

// maxLines is the number of colors and markers in the template.
const maxLines = 7

// Chart is lines, or bars, with a title and labelled axes.
type Chart struct {
	Title          string // also read by screen readers
	XLabel, YLabel string // with their units
	LogX, LogY     bool
	Lines          []Line
	Bars           []Bar   // horizontal, the first one on top; on a logarithmic X, dots
	Ticks          []Tick  // of the X axis, instead of round numbers
	Width, Height  float64 // in pixels, the height that of the data's area; 0 chooses
	Bare           bool    // without its style, for a page that has [StyleSheet]: a strict content policy refuses it inside of a drawing
}

// Line is points in the order in which they are joined.
type Line struct {
	Name string
	X, Y []float64
}

// Bar is one value with its name.
type Bar struct {
	Name  string
	Value float64
}

// Tick is a value on an axis with a label of its own, such as a date.
type Tick struct {
	At   float64
	Name string
}

// WriteSVG draws the chart.
func (c Chart) WriteSVG(w io.Writer) error {
	shapes, err := parse()
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err = c.check(); err == nil {
		err = shapes.Execute(&out, c.layOut())
	}
	if err != nil {
		return fmt.Errorf("chart %q: %w", c.Title, err)
	}
	_, err = w.Write(bytes.Map(inXML, out.Bytes()))
	return err
}

// StyleSheet is the style of all charts.
func StyleSheet() (string, error) {
	shapes, err := parse()
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	err = shapes.ExecuteTemplate(&out, "style", nil)
	return out.String(), err
}

func parse() (*template.Template, error) {
	shapes, err := template.New("chart").Parse(source)
	if err != nil {
		return nil, fmt.Errorf("parse the drawing of charts: %w", err)
	}
	return shapes, nil
}

// inXML replaces a control character: XML has no way to write most of them.
func inXML(r rune) rune {
	if unicode.IsControl(r) && r != '\n' && r != '\t' {
		return unicode.ReplacementChar
	}
	return r
}

func (c Chart) check() error {
	switch {
	case len(c.Lines) == 0 && len(c.Bars) == 0:
		return errors.New("there is nothing to draw")
	case len(c.Lines) > 0 && len(c.Bars) > 0:
		return errors.New("lines and bars in one chart")
	case len(c.Lines) > maxLines:
		return fmt.Errorf("%d lines, more than can be told apart", len(c.Lines))
	}
	for _, l := range c.Lines {
		if len(l.X) != len(l.Y) || len(l.X) == 0 {
			return fmt.Errorf("line %q has %d x and %d y", l.Name, len(l.X), len(l.Y))
		}
		if err := cmp.Or(fit(l.X, c.LogX, "x"), fit(l.Y, c.LogY, "y")); err != nil {
			return fmt.Errorf("line %q, %w", l.Name, err)
		}
	}
	for _, b := range c.Bars {
		if err := fit([]float64{b.Value}, c.LogX, "value"); err != nil {
			return fmt.Errorf("bar %q, %w", b.Name, err)
		}
	}
	return nil
}

func fit(values []float64, log bool, axis string) error {
	for i, x := range values {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return fmt.Errorf("%s of point %d: %v is no number", axis, i+1, x)
		}
		if log && x <= 0 {
			return fmt.Errorf("%s of point %d: %v has no place on a logarithmic axis", axis, i+1, x)
		}
	}
	return nil
}

// Description states in words and figures what the chart shows.
func (c Chart) Description() string {
	var parts []string
	for _, b := range c.Bars {
		parts = append(parts, fmt.Sprintf("%s: %s", b.Name, short(b.Value)))
	}
	for _, l := range c.Lines {
		last := len(l.X) - 1
		parts = append(parts, fmt.Sprintf("%s: %s at %s, %s at %s", l.Name, short(l.Y[0]), c.at(l.X[0]), short(l.Y[last]), c.at(l.X[last])))
	}
	return fmt.Sprintf("%s by %s. %s", c.YLabel, c.XLabel, strings.Join(parts, "; "))
}

// at is a value of the X axis, by its name where it has one.
func (c Chart) at(x float64) string {
	for _, t := range c.Ticks {
		if t.At == x {
			return t.Name
		}
	}
	return short(x)
}
