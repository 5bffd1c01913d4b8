package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// WriteMarkdown writes the same as [WriteHTML] in the same order, its charts as
// figures, so that it reads well in a terminal too. Whatever stands in the database
// is escaped; control characters, which a terminal would obey, are replaced.
func WriteMarkdown(w io.Writer, r *Report) error {
	return writeMarkdown(w, layOut(r))
}

func writeMarkdown(w io.Writer, d document) error {
	m := &markdown{out: bufio.NewWriter(w)}
	m.line("# %s", escaped(d.Title))
	m.line("**%s**", escaped(d.Verdict.Text))
	m.facts(d.Facts)
	for _, s := range d.Sections {
		m.line("## %s", escaped(s.Title))
		m.blocks(s.Blocks, "###")
	}
	if err := m.out.Flush(); err != nil {
		return fmt.Errorf("write the report as Markdown: %w", err)
	}
	return nil
}

// markdown writes blocks with an empty line between them. What goes wrong with the
// writer is kept by it until it is flushed.
type markdown struct {
	out   *bufio.Writer
	begun bool
}

func (m *markdown) line(format string, args ...any) {
	if m.begun {
		_ = m.out.WriteByte('\n')
	}
	m.begun = true
	_, _ = fmt.Fprintf(m.out, format+"\n", args...)
}

func (m *markdown) blocks(blocks []block, heading string) {
	for _, b := range blocks {
		switch {
		case b.Text != "":
			m.line("%s", escaped(b.Text))
		case len(b.List) > 0:
			m.list(b.List)
		case b.Code != nil:
			m.code(b.Code)
		case b.Table != nil:
			m.table(b.Table)
		case len(b.Charts) > 0:
			for _, p := range b.Charts {
				m.table(p.Figures)
			}
		case b.Finding != nil:
			m.finding(b.Finding, heading)
		case b.Fold != nil:
			title := b.Fold.Summary.markdown()
			if b.Fold.Aside != "" {
				title += ": " + escaped(b.Fold.Aside)
			}
			m.line("%s %s", heading, title)
			m.blocks(b.Fold.Blocks, heading+"#")
		}
	}
}

func (m *markdown) list(items []string) {
	lines := make([]string, len(items))
	for i, item := range items {
		lines[i] = "- " + escaped(item)
	}
	m.line("%s", strings.Join(lines, "\n"))
}

func (m *markdown) facts(facts []fact) {
	var lines []string
	for _, f := range facts {
		lines = append(lines, fmt.Sprintf("- %s: %s", escaped(f.Name), escaped(f.Value)))
	}
	if len(lines) > 0 {
		m.line("%s", strings.Join(lines, "\n"))
	}
}

func (m *markdown) finding(f *remark, heading string) {
	m.line("%s %d. %s: %s", heading, f.Number, escaped(f.Severity), escaped(f.Title))
	m.facts(f.Facts)
	if len(f.Evidence) > 0 {
		m.line("Seen:")
		m.list(f.Evidence)
	}
	if f.Fix != nil {
		m.line("Would mend it; **not executed**:")
		m.code(f.Fix)
	}
}

// code is fenced by more backticks than stand in it.
func (m *markdown) code(c *code) {
	text := visible(strings.TrimRight(c.Text, "\n"), "\n\t")
	fence := strings.Repeat("`", max(3, longestRun(text, '`')+1))
	m.line("%s%s\n%s\n%s", fence, c.Language, text, fence)
}

// table pads its cells, so that columns stand under each other in a terminal.
func (m *markdown) table(t *table) {
	rows := make([][]string, 0, len(t.Rows)+2)
	head, rule := make([]string, len(t.Columns)), make([]string, len(t.Columns))
	wide := make([]int, len(t.Columns))
	for i, c := range t.Columns {
		head[i], wide[i] = escaped(c.Name), 3
	}
	rows = append(rows, head, rule)
	for _, cells := range t.Rows {
		row := make([]string, len(t.Columns))
		for i, c := range cells {
			row[i] = c.markdown()
		}
		rows = append(rows, row)
	}
	for _, row := range rows {
		for i, c := range row {
			wide[i] = max(wide[i], utf8.RuneCountInString(c))
		}
	}
	lines := make([]string, len(rows))
	for k, row := range rows {
		for i, c := range t.Columns {
			if k == 1 {
				row[i] = c.rule(wide[i])
			}
			lines[k] += "| " + c.padded(row[i], wide[i]) + " "
		}
		lines[k] += "|"
	}
	m.line("%s:", escaped(t.Caption))
	m.line("%s", strings.Join(lines, "\n"))
}

func (c column) rule(wide int) string {
	if c.Figures {
		return strings.Repeat("-", wide-1) + ":"
	}
	return strings.Repeat("-", wide)
}

func (c column) padded(text string, wide int) string {
	room := strings.Repeat(" ", max(0, wide-utf8.RuneCountInString(text)))
	if c.Figures {
		return room + text
	}
	return text + room
}

// markdown is the cell as it stands in a heading or a table.
func (c cell) markdown() string {
	switch {
	case !c.Code || c.Text == "":
		return escaped(c.Text)
	case strings.ContainsRune(c.Text, '|'): // ends a cell inside of backticks too
		return escaped(c.Text)
	}
	text := visible(c.Text, "")
	fence := strings.Repeat("`", longestRun(text, '`')+1)
	if len(fence) > 1 {
		text = " " + text + " "
	}
	return fence + text + fence
}

// escaped is text that no reader of Markdown takes for markup. An underscore inside
// of a word is none.
func escaped(text string) string {
	var out strings.Builder
	before := ' '
	runes := []rune(visible(text, ""))
	for i, r := range runes {
		after := ' '
		if i+1 < len(runes) {
			after = runes[i+1]
		}
		if isMarkup(r, before, after, i == 0) {
			out.WriteByte('\\')
		}
		out.WriteRune(r)
		before = r
	}
	return out.String()
}

func isMarkup(r, before, after rune, first bool) bool {
	word := func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }
	switch r {
	case '\\', '`', '|', '[', ']', '~':
		return true
	case '<':
		return after != ' ' && after != '='
	case '&':
		return word(after) || after == '#'
	case '*':
		return before != ' ' || after != ' '
	case '_':
		return !word(before) || !word(after)
	case '>':
		return first
	case '#', '+', '-':
		return first && (after == ' ' || after == r)
	}
	return false
}

// visible is text without control characters, those of keep excepted, and without
// characters that turn the direction of what follows.
func visible(text, keep string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case strings.ContainsRune(keep, r):
			return r
		case r == '\n', r == '\t':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r):
			return utf8.RuneError
		}
		return r
	}, text)
}

func longestRun(text string, of rune) int {
	longest, run := 0, 0
	for _, r := range text {
		if r == of {
			run++
			longest = max(longest, run)
		} else {
			run = 0
		}
	}
	return longest
}
