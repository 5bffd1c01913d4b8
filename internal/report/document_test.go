package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/chart"
)

// hostile is what a name in a database may be.
const hostile = "</code><script>alert(1)</script>|x`` `y`\x1b[31m**b** \u202e_z_ &lt; \"q\" 'r'"

// hostileDocument has it in each place that takes a text.
func hostileDocument() document {
	cells := &table{
		Caption: hostile, Columns: []column{{Name: hostile}, {Name: hostile, Figures: true}},
		Rows: [][]cell{{named(hostile), {Text: hostile}}, {{Text: hostile}, badge(toneBad, hostile)}},
	}
	lines := &code{Label: hostile, Language: "sql", Text: "SELECT 1;\n```\n" + hostile}
	return document{
		Title: hostile, Verdict: cell{Tone: toneBad, Text: hostile}, Facts: []fact{{hostile, hostile}},
		Sections: []section{{ID: "a", Title: hostile, Blocks: []block{
			{Text: hostile}, {List: []string{hostile}}, {Code: lines}, {Table: cells},
			{Charts: []*picture{{Chart: chart.Chart{Title: hostile, XLabel: hostile, YLabel: hostile, Bars: []chart.Bar{{Name: hostile, Value: 1}}}, Figures: cells}}},
			{Finding: &remark{Finding{ID: hostile, Severity: hostile, Subject: hostile, Title: hostile, Cost: hostile, Evidence: []string{hostile}, Fix: lines.Text}, 1}},
			{Fold: &fold{Summary: named(hostile), Aside: hostile, Blocks: []block{{Text: hostile}}}},
		}}},
	}
}

func TestHTMLEscapes(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.NoError(t, writeHTML(&out, hostileDocument()))
	says := out.String()
	assert.NotContains(t, says, "<script")
	assert.Equal(t, strings.Count(says, "<code>"), strings.Count(says, "</code>"))
	assert.GreaterOrEqual(t, strings.Count(says, "&lt;script&gt;"), 20, "shown as it is")
}

// What a page may not have: it is to be opened from a disk, years later, by a person
// who cannot reach the network.
func TestHTMLStandsAlone(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.NoError(t, writeHTML(&out, hostileDocument()))
	says := strings.ReplaceAll(out.String(), `xmlns="http://www.w3.org/2000/svg"`, "")
	assert.NotRegexp(t, `(?i)https?://|@import|url\(|<link|<img|<iframe|\son[a-z]+="`, says)
	assert.Contains(t, says, `default-src 'none'`)
	assert.Contains(t, says, "prefers-color-scheme: dark")
}

// Every element is closed, and no id is there twice.
func TestHTMLIsWellFormed(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.NoError(t, writeHTML(&out, hostileDocument()))
	decoder := xml.NewDecoder(&out)
	decoder.Strict, decoder.AutoClose, decoder.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	depth, ids, heading := 0, map[string]bool{}, 0
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		switch e := token.(type) {
		case xml.StartElement:
			depth++
			for _, a := range e.Attr {
				if a.Name.Local == "id" {
					assert.False(t, ids[a.Value], "id %s twice", a.Value)
					ids[a.Value] = true
				}
			}
			if len(e.Name.Local) == 2 && e.Name.Local[0] == 'h' && e.Name.Local[1] <= '6' {
				level := int(e.Name.Local[1] - '0')
				assert.LessOrEqual(t, level, heading+1, "headings in order")
				heading = level
			}
		case xml.EndElement:
			depth--
		}
	}
	assert.Zero(t, depth)
}

func TestMarkdownEscapes(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.NoError(t, writeMarkdown(&out, hostileDocument()))
	says := out.String()
	assert.NotContains(t, says, "\x1b", "a terminal would obey it")
	assert.NotContains(t, says, "\u202e")
	assert.Contains(t, says, "\n````sql\nSELECT 1;\n```\n", "a longer fence than what is in it")
	fenced := false
	for line := range strings.Lines(says) {
		if strings.HasPrefix(line, "````") {
			fenced = !fenced
			continue
		}
		if fenced {
			continue
		}
		assert.NotRegexp(t, `(^|[^\\])<script`, line)
		if strings.HasPrefix(line, "|") {
			assert.Len(t, regexp.MustCompile(`(^|[^\\])\|`).FindAllString(line, -1), 3, line)
		}
	}
}

func TestEscaped(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"user_summary_pkey":  "user_summary_pkey",
		"_a_ b_":             `\_a\_ b\_`,
		"a|b":                `a\|b`,
		"`a`":                "\\`a\\`",
		"2 * 3 < 7, a<b":     `2 * 3 < 7, a\<b`,
		"**bold**":           `\*\*bold\*\*`,
		"# no heading":       `\# no heading`,
		"- no item":          `\- no item`,
		"-5":                 "-5",
		"&amp; R&D & so":     `\&amp; R\&D & so`,
		"a\nb\x00":           "a b\uFFFD",
		"[text](javascript)": `\[text\](javascript)`,
		`C:\x`:               `C:\\x`,
	} {
		assert.Equal(t, want, escaped(text))
	}
}
