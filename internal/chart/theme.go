package chart

import (
	"bytes"
	"fmt"
	"html"
	"image/color"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"gonum.org/v1/plot/vg"
)

// shade is a colour on a light page, and the one that takes its place on a dark one.
type shade struct{ light, dark uint32 }

var (
	ink  = shade{0x24292f, 0xe6edf3}
	grid = shade{0xd8dee4, 0x3d444d}
)

// palette is Okabe and Ito's, which readers with any kind of colour vision can tell
// apart (https://jfly.uni-koeln.de/color/), darkened where it has to stand on white.
func palette() []shade {
	return []shade{
		{0x0072b2, 0x56b4e9}, // blue
		{0xc04f00, 0xff9a4d}, // vermilion
		{0x007a59, 0x2fd3a5}, // green
		{0x9c4a7f, 0xe39ac6}, // purple
		{0x7a6a00, 0xf0e442}, // yellow
		{0x59636e, 0xb1bac4}, // grey
		{0x3f3d9e, 0xa5a3ff}, // indigo
	}
}

func (s shade) color() color.Color {
	return color.NRGBA{R: uint8(s.light >> 16), G: uint8(s.light >> 8), B: uint8(s.light), A: 255}
}

// fonts have the widths that the layout was measured with, the last one excepted.
const fonts = "Arial, Helvetica, 'Liberation Sans', sans-serif"

var (
	head   = regexp.MustCompile(`(?s)^.*?<svg width="([0-9.]+)pt" height="([0-9.]+)pt" viewBox="([^"]*)"[^>]*>`)
	family = regexp.MustCompile(`font-family:[^;"]*;font-variant:[^;"]*;`)
	words  = regexp.MustCompile(`(?s)<text ([^>]*font-size:([0-9.]+)px[^>]*)>([^<]*)</text>`)
)

// themed gives a drawing the page's colours, fonts and width, and words for who does
// not see it.
func (c Chart) themed(drawn []byte) []byte {
	var style strings.Builder
	fmt.Fprintf(&style, "text{font-family:%s}", fonts)
	style.WriteString("@media (prefers-color-scheme:dark){")
	for _, s := range append(palette(), ink, grid) {
		for _, property := range []string{"fill", "stroke"} {
			fmt.Fprintf(&style, `[style*="%s:#%06X"]{%s:#%06x!important}`, property, s.light, property, s.dark)
		}
	}
	style.WriteString("}")
	size := head.FindSubmatch(drawn)
	body := family.ReplaceAll(drawn[len(size[0]):], nil)
	body = words.ReplaceAllFunc(body, c.measured)
	opening := fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%s" height="%s" viewBox="%s" role="img" style="max-width:100%%;height:auto"><title>%s</title><desc>%s</desc><style>%s</style>`,
		size[1], size[2], size[3], html.EscapeString(c.Title), html.EscapeString(c.description()), style.String())
	return bytes.Map(inXML, bytes.Join([][]byte{[]byte(opening), body}, nil))
}

// inXML is the character in its place: XML has no way to write most control characters.
func inXML(r rune) rune {
	if unicode.IsControl(r) && r != '\n' && r != '\t' {
		return unicode.ReplacementChar
	}
	return r
}

// measured gives a text the width that the layout has for it: whatever font the reader
// has, it runs into nothing.
func (c Chart) measured(text []byte) []byte {
	parts := words.FindSubmatch(text)
	size, err := strconv.ParseFloat(string(parts[2]), 64)
	said := html.UnescapeString(string(parts[3]))
	if err != nil || strings.TrimSpace(said) == "" {
		return text
	}
	wide := c.text(vg.Length(size)).Width(said)
	return fmt.Appendf(nil, `<text textLength="%.1f" lengthAdjust="spacingAndGlyphs" %s>%s</text>`, float64(wide), parts[1], parts[3])
}

// description says what the chart shows in words and figures.
func (c Chart) description() string {
	var says []string
	for _, b := range c.Bars {
		says = append(says, fmt.Sprintf("%s: %s", b.Name, short(b.Value)))
	}
	for _, l := range c.Lines {
		last := len(l.X) - 1
		says = append(says, fmt.Sprintf("%s: %s at %s, %s at %s", l.Name, short(l.Y[0]), short(l.X[0]), short(l.Y[last]), short(l.X[last])))
	}
	return fmt.Sprintf("%s by %s. %s", c.YLabel, c.XLabel, strings.Join(says, "; "))
}
