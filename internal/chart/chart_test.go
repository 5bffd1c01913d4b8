package chart_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/chart"
)

// keep is for looking at the charts in a browser.
var keep = flag.String("keep", "", "folder in which the drawn charts stay")

func charts() map[string]chart.Chart {
	rows := []float64{1e4, 1e5, 1e6, 1e7}
	return map[string]chart.Chart{
		"lines": {
			Title: "A user's sum, by rows in the table", XLabel: "rows", YLabel: "µs", LogX: true, LogY: true,
			Lines: []chart.Line{
				{Name: "user_summary", X: rows, Y: []float64{12, 13, 14, 14}},
				{Name: "summed by primary key", X: rows, Y: []float64{210, 230, 240, 260}},
				{Name: "summed, index on user_id", X: rows, Y: []float64{40, 44, 50, 90}},
				{Name: "summed without an index", X: rows, Y: []float64{800, 8_100, 79_000, 812_345}},
			},
		},
		"bars": {
			Title: "Time of a load, by way", XLabel: "times COPY's", YLabel: "way",
			Bars: []chart.Bar{{"COPY, binary", 1}, {"INSERT of 1,000 rows", 2.3}, {"INSERT, row by row", 31.4}, {"<script> & “quotes”", 0}},
		},
		"dots": {
			Title: "One day's sum, by index", XLabel: "µs", YLabel: "index", LogX: true,
			Bars: []chart.Bar{{"none", 81_000}, {"BRIN (transaction_date)", 900}, {"B-tree (transaction_date)", 45}},
		},
		"linear": {
			Title: "Size by night", XLabel: "night", YLabel: "MiB",
			Lines: []chart.Line{{Name: "size", X: []float64{1, 2, 3, 4}, Y: []float64{0, 120, 260, 333}}},
			Ticks: []chart.Tick{{1, "2024-01-01"}, {4, "2024-01-04"}},
		},
		"narrow": {
			Title: "Rows by night", XLabel: "night", YLabel: "rows", Width: 380, Height: 200,
			Lines: []chart.Line{{Name: "loaded", X: []float64{1, 2, 3}, Y: []float64{9e5, 1e6, 1.1e6}}, {Name: "rejected, of these by their date", X: []float64{1, 2, 3}, Y: []float64{9e4, 1e4, 1.1e3}}},
			Ticks: []chart.Tick{{1, "2024-01-01"}, {3, "2024-01-03"}},
		},
		"one point": {
			Title: "One", XLabel: "x", YLabel: "y", LogX: true, LogY: true,
			Lines: []chart.Line{{Name: "a", X: []float64{10_000}, Y: []float64{10}}},
		},
	}
}

func TestWriteSVG(t *testing.T) {
	t.Parallel()
	for name, c := range charts() {
		var first, second bytes.Buffer
		require.NoError(t, c.WriteSVG(&first), name)
		require.NoError(t, c.WriteSVG(&second), name)
		assert.Equal(t, first.String(), second.String(), "%s: the same chart, the same bytes", name)
		texts := textsOf(t, first.Bytes())
		assert.Contains(t, texts, c.Title, name)
		assert.Contains(t, texts, c.XLabel, name)
		for _, l := range c.Lines {
			if len(c.Lines) > 1 {
				assert.Contains(t, texts, l.Name, name)
			}
		}
		for _, b := range c.Bars {
			assert.Contains(t, texts, b.Name, name)
		}
		assert.NotContains(t, first.String(), "<script", name)
		assert.Contains(t, first.String(), "prefers-color-scheme:dark", name)
		if *keep != "" {
			require.NoError(t, os.WriteFile(filepath.Join(*keep, name+".svg"), first.Bytes(), 0o600))
		}
	}
}

// A page with a strict content policy has the style once, and drawings without it.
func TestBare(t *testing.T) {
	t.Parallel()
	style, err := chart.StyleSheet()
	require.NoError(t, err)
	for name, c := range charts() {
		var whole, bare bytes.Buffer
		require.NoError(t, c.WriteSVG(&whole), name)
		c.Bare = true
		require.NoError(t, c.WriteSVG(&bare), name)
		assert.Contains(t, whole.String(), style, name)
		assert.NotContains(t, bare.String(), "style", name)
	}
	c := charts()["linear"]
	assert.Contains(t, c.Description(), "size: 0 at 2024-01-01, 333 at 2024-01-04")
}

// textsOf are the texts of a drawing that is well formed.
func textsOf(t *testing.T, svg []byte) (texts []string) {
	t.Helper()
	decoder := xml.NewDecoder(bytes.NewReader(svg))
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return texts
		}
		require.NoError(t, err)
		if text, ok := token.(xml.CharData); ok {
			texts = append(texts, string(text))
		}
	}
}

// A name out of a database may be anything.
func TestAnyName(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := chart.Chart{Title: "a\x1b<script>", XLabel: "\x00\"'", YLabel: "]]>&amp;", Bars: []chart.Bar{{Name: "\xff</svg>\x07", Value: 1}}}
	require.NoError(t, c.WriteSVG(&out))
	texts := textsOf(t, out.Bytes())
	assert.Contains(t, texts, "a\uFFFD<script>")
	assert.Contains(t, texts, "\uFFFD</svg>\uFFFD")
}

func TestWhatCannotBeDrawn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		chart chart.Chart
		says  string
	}{
		"nothing":     {chart.Chart{}, "nothing to draw"},
		"no points":   {chart.Chart{Lines: []chart.Line{{Name: "a"}}}, `line "a" has 0 x and 0 y`},
		"lengths":     {chart.Chart{Lines: []chart.Line{{Name: "a", X: []float64{1, 2}, Y: []float64{1}}}}, "2 x and 1 y"},
		"not a value": {chart.Chart{Lines: []chart.Line{{Name: "a", X: []float64{1}, Y: []float64{math.NaN()}}}}, "y of point 1"},
		"log of zero": {chart.Chart{LogY: true, Lines: []chart.Line{{Name: "a", X: []float64{1, 2}, Y: []float64{1, 0}}}}, "y of point 2: 0 has no place"},
		"log bar":     {chart.Chart{LogX: true, Bars: []chart.Bar{{"b", -1}}}, `bar "b"`},
		"both":        {chart.Chart{Lines: []chart.Line{{Name: "a", X: []float64{1}, Y: []float64{1}}}, Bars: []chart.Bar{{"b", 1}}}, "lines and bars"},
		"too many":    {chart.Chart{Lines: make([]chart.Line, 20)}, "20 lines"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.chart.Title = "T"
			err := c.chart.WriteSVG(io.Discard)
			assert.ErrorContains(t, err, c.says)
			assert.ErrorContains(t, err, `chart "T"`)
		})
	}
}
