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
	d, err := layOut(r)
	if err != nil {
		return fmt.Errorf("lay out the report: %w", err)
	}
	return writeMarkdown(w, d)
}

func writeMarkdown(w io.Writer, d document) error {
	text, err := template.New("report").Funcs(template.FuncMap{
		"text": escaped, "cell": cell.markdown, "fenced": code.markdown, "rows": (*table).markdown,
	}).Parse(markdownTemplate)
	if err == nil {
		err = text.Execute(w, d)
	}
	if err != nil {
		return fmt.Errorf("write the report as Markdown: %w", err)
	}
	return nil
}

func (c code) markdown() string {
	text := visible(strings.TrimRight(c.Text, "\n"), "\n\t")
	fence := fenceOf(text, "```")
	return fence + c.Language + "\n" + text + "\n" + fence
}

// fenceOf returns more backticks than are in the text.
func fenceOf(text, fence string) string {
	for strings.Contains(text, fence) {
		fence += "`"
	}
	return fence
}

// markdown pads the cells, so that columns are aligned in a terminal.
func (t *table) markdown() string {
	lines := make([]string, 2+len(t.Rows))
	for i, c := range t.Columns {
		texts := []string{escaped(c.Name), "---"}
		for _, row := range t.Rows {
			texts = append(texts, row[i].markdown())
		}
		width := 0
		for _, text := range texts {
			width = max(width, utf8.RuneCountInString(text))
		}
		texts[1] = strings.Repeat("-", width)
		if c.Figures {
			texts[1] = texts[1][1:] + ":"
		} else {
			width = -width // to the left
		}
		for k, text := range texts {
			lines[k] += fmt.Sprintf("| %*s ", width, text)
		}
	}
	return strings.Join(lines, "|\n") + "|"
}

// markdown returns the cell for a heading or a table. A bar ends a cell of a table inside of backticks too.
func (c cell) markdown() string {
	if !c.Code || c.Text == "" || strings.Contains(c.Text, "|") {
		return escaped(c.Text)
	}
	text := visible(c.Text, "")
	fence := fenceOf(text, "`")
	if len(fence) > 1 {
		text = " " + text + " "
	}
	return fence + text + fence
}

// escaped returns text without markup. An underscore inside of a word is none.
func escaped(text string) string {
	var out strings.Builder
	runes := []rune(" " + visible(text, "") + " ")
	for i := 1; i < len(runes)-1; i++ {
		if isMarkup(runes[i], runes[i-1], runes[i+1], i == 1) {
			out.WriteByte('\\')
		}
		out.WriteRune(runes[i])
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
