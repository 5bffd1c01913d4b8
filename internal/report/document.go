package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"

	"github.com/opentax/tally/internal/chart"
)

//go:embed report.html.tmpl
var htmlTemplate string

//go:embed report.css
var styleSheet string

// StyleSheet is the style of reports, and of pages beside them.
func StyleSheet() string { return styleSheet }

// document is a report laid out. HTML and Markdown are written from it, so that they have the same content in the same
// order. Its texts are plain: each writer escapes them.
type document struct {
	Title    string
	Verdict  cell
	Facts    []fact
	Sections []section
}

type fact struct{ Name, Value string }

type section struct {
	ID, Title, None string // None is the text of a section without blocks
	Blocks          []block
}

// block is one of its fields, the others being empty.
type block struct {
	Text    string
	List    []string
	Code    *code
	Table   *table
	Charts  []*picture // side by side where there is room
	Finding *remark
	Fold    *fold
}

// code is a statement or a plan, unchanged.
type code struct {
	Label    string // for screen readers
	Language string // sql, json, or empty
	Text     string
}

// remark is a finding with its place in the list.
type remark struct {
	Finding

	Number int
}

// Tone is the severity's.
func (f remark) Tone() tone { return f.Severity.tone() }

// Code is the suggested fix.
func (f remark) Code() code {
	return code{fmt.Sprintf("Suggested SQL for finding %d", f.Number), "sql", f.Fix}
}

// fold is closed at first; Markdown shows it in full.
type fold struct {
	Summary cell
	Aside   string
	Open    bool
	Blocks  []block
}

// table has the name of each row in its first column.
type table struct {
	Caption string
	Columns []column
	Rows    [][]cell
}

// column has figures, which are set to the right, prose, which may wrap, or names, which may not.
type column struct {
	Name           string
	Figures, Prose bool
}

// cell is a text, the name of something in the database (Code), or a badge (Tone).
type cell struct {
	Text string
	Code bool
	Tone tone
}

// tone colors a badge, whose text has the same meaning.
type tone string

const (
	toneBad     tone = "bad"
	toneWarning tone = "warning"
	toneNote    tone = "note"
	toneGood    tone = "good"
)

// picture is a chart and the same in figures.
type picture struct {
	Chart   chart.Chart
	Figures *table
}

func named(name string) cell { return cell{Text: name, Code: true} }

func badge(t tone, text string) cell { return cell{Text: text, Tone: t} }

func paragraph(format string, args ...any) block { return block{Text: fmt.Sprintf(format, args...)} }

// newTable takes the columns' names: ">" in front is for figures, "~" for prose.
func newTable(caption string, columns ...string) *table {
	t := &table{Caption: caption}
	for _, c := range columns {
		name := strings.TrimLeft(c, ">~")
		kind := c[:len(c)-len(name)]
		t.Columns = append(t.Columns, column{Name: name, Figures: strings.Contains(kind, ">"), Prose: strings.Contains(kind, "~")})
	}
	return t
}

// add appends a row of cells and strings.
func (t *table) add(cells ...any) {
	row := make([]cell, len(cells))
	for i, of := range cells {
		switch of := of.(type) {
		case cell:
			row[i] = of
		case string:
			row[i].Text = of
		}
	}
	t.Rows = append(t.Rows, row)
}

// WriteHTML writes the report as one file that needs neither a network nor a script, and that follows the reader's colors and
// width. All texts are escaped.
func WriteHTML(w io.Writer, r *Report) error {
	d, err := layOut(r)
	if err != nil {
		return fmt.Errorf("lay out the report: %w", err)
	}
	return writeHTML(w, d)
}

func writeHTML(w io.Writer, d document) error {
	var out strings.Builder
	page, err := template.New("report").Funcs(template.FuncMap{
		"css": func() template.CSS { return template.CSS(styleSheet) },
		"svg": func(p *picture) (template.HTML, error) {
			var drawing strings.Builder
			err := p.Chart.WriteSVG(&drawing)
			return template.HTML(drawing.String()), err // chart escapes the texts in it
		},
	}).Parse(htmlTemplate)
	if err == nil {
		err = page.Execute(&out, d)
	}
	if err == nil {
		_, err = io.WriteString(w, visible(out.String(), "\n\t"))
	}
	if err != nil {
		return fmt.Errorf("write the report as HTML: %w", err)
	}
	return nil
}
