package report

import (
	"bytes"
	"fmt"

	"github.com/opentax/tally/internal/chart"
)

// document is a report laid out. HTML and Markdown are written from it, so that they
// say the same in the same order; all its texts are plain ones that whoever writes
// them escapes.
type document struct {
	Title    string
	Verdict  verdict
	Facts    []fact
	Sections []section
}

// tone is what a badge says beside its text; no tone is told by colour alone.
type tone string

const (
	toneBad     tone = "bad"
	toneWarning tone = "warning"
	toneNote    tone = "note"
	toneGood    tone = "good"
	toneNone    tone = ""
)

type verdict struct {
	Tone tone
	Text string
}

// fact is a name and its value in the head of the report.
type fact struct{ Name, Value string }

type section struct {
	ID, Title string
	Blocks    []block
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

// code is a statement or a plan, as it is.
type code struct {
	Label    string // what a screen reader calls it
	Language string // sql, json, or empty
	Text     string
}

// remark is a finding with what was seen and what would mend it.
type remark struct {
	Number   int
	Tone     tone
	Severity string
	Title    string
	Facts    []fact
	Evidence []string
	Fix      *code
}

// fold is shown when it is asked for; Markdown has it at the end of its section.
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

// column is of figures, which are set to the right, of sentences, which may wrap, or of
// names, which may not.
type column struct {
	Name    string
	Figures bool
	Prose   bool
}

// cell is a text, or the name of something in the database (Code), or a judgement.
type cell struct {
	Text string
	Code bool
	Tone tone
}

// picture is a chart and the same in figures.
type picture struct {
	Chart   chart.Chart
	Figures *table
}

func text(format string, args ...any) cell { return cell{Text: fmt.Sprintf(format, args...)} }

func named(name string) cell { return cell{Text: name, Code: true} }

func judged(t tone, says string) cell { return cell{Text: says, Tone: t} }

func paragraph(format string, args ...any) block { return block{Text: fmt.Sprintf(format, args...)} }

func (p *picture) svg() (string, error) {
	var out bytes.Buffer
	err := p.Chart.WriteSVG(&out)
	return out.String(), err
}
