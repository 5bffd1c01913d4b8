package report

import (
	_ "embed"
	"fmt"
	"io"
	"strings"
	"text/template"
	"unicode"
	"unicode/utf8"
)

//go:embed report.md.tmpl
var markdownTemplate string

// WriteMarkdown writes the content of [WriteHTML] in the same order, with charts as figures, so that it reads well in a
// terminal too. All texts are escaped; control characters, which a terminal would obey, are replaced.
func WriteMarkdown(w io.Writer, r *Report) error {
	return writeMarkdown(w, layOut(r))
}

func writeMarkdown(w io.Writer, d document) error {
	text, err := template.New("report").Funcs(template.FuncMap{
		"text": escaped, "cell": cell.markdown, "fenced": code.markdown, "rows": (*table).markdown,
	}).Parse(markdownTemplate)
	if err != nil {
		return fmt.Errorf("parse the report's text: %w", err)
	}
	if err := text.Execute(w, d); err != nil {
		return fmt.Errorf("write the report as Markdown: %w", err)
	}
	return nil
}

// markdown fences the code with more backticks than are in it.
func (c code) markdown() string {
	text, fence := visible(strings.TrimRight(c.Text, "\n"), "\n\t"), "```"
	for strings.Contains(text, fence) {
		fence += "`"
	}
	return fence + c.Language + "\n" + text + "\n" + fence
}

// markdown pads the cells, so that columns are aligned in a terminal.
func (t *table) markdown() string {
	texts := make([][]string, len(t.Rows)+2)
	widths := make([]int, len(t.Columns))
	for i, c := range t.Columns {
		texts[0] = append(texts[0], escaped(c.Name))
		widths[i] = 3
	}
	for k, row := range t.Rows {
		for _, c := range row {
			texts[k+2] = append(texts[k+2], c.markdown())
		}
	}
	for _, row := range texts {
		for i, text := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(text))
		}
	}
	for i, c := range t.Columns {
		rule := strings.Repeat("-", widths[i])
		if c.Figures {
			rule = rule[1:] + ":"
		}
		texts[1] = append(texts[1], rule)
	}
	lines := make([]string, len(texts))
	for k, row := range texts {
		for i, text := range row {
			lines[k] += "| " + t.Columns[i].padded(text, widths[i]) + " "
		}
		lines[k] += "|"
	}
	return strings.Join(lines, "\n")
}

func (c column) padded(text string, width int) string {
	room := strings.Repeat(" ", width-utf8.RuneCountInString(text))
	if c.Figures {
		return room + text
	}
	return text + room
}

// markdown returns the cell for a heading or a table. A bar ends a cell of a table inside of backticks too.
func (c cell) markdown() string {
	if !c.Code || c.Text == "" || strings.Contains(c.Text, "|") {
		return escaped(c.Text)
	}
	text, fence := visible(c.Text, ""), "`"
	for strings.Contains(text, fence) {
		fence += "`"
	}
	if len(fence) > 1 {
		text = " " + text + " "
	}
	return fence + text + fence
}

// escaped returns text without markup. An underscore inside of a word is none.
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

// visible replaces control characters, except those in keep, and characters that turn the direction of the text.
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
