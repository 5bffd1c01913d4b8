package transform

import (
	_ "embed"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"text/template"
	"unicode"
)

//go:embed profile.tmpl
var profileTemplate string

// WriteText writes the profile for people. What comes from the file is quoted,
// so that no control character of it reaches a terminal.
func (p *Profile) WriteText(w io.Writer) error {
	t, err := template.New("profile").Funcs(template.FuncMap{
		"text": quote, "bare": bare, "graphic": graphic, "grouped": grouped, "share": share, "delimiter": delimiterName,
	}).Parse(profileTemplate)
	if err != nil {
		return fmt.Errorf("parse the profile's template: %w", err)
	}
	aligned := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if err = t.Execute(aligned, p); err == nil {
		err = aligned.Flush()
	}
	if err != nil {
		return fmt.Errorf("write profile: %w", err)
	}
	return nil
}

// Proofs are the two choices, each with the number of values that prove it, as two cells.
func (c ConventionCount) Proofs() string {
	return fmt.Sprintf("%s %s\t%s %s", c.convention.Name(MonthFirst), grouped(c.First.Cells), c.convention.Name(DayFirst), grouped(c.Second.Cells))
}

// FirstProof is the first value that can be read in one way only, if there is one.
func (c ConventionCount) FirstProof() Seen {
	if c.First.Cells == 0 || c.Second.Cells > 0 && c.Second.Line < c.First.Line {
		return c.Second
	}
	return c.First
}

// quote is what a file says, on one line and without control characters.
func quote(s string) string {
	if s == "" {
		return "(blank)"
	}
	return strconv.QuoteToGraphic(s)
}

// bare is quote without the quotes, where none are needed.
func bare(s string) string {
	q := strconv.QuoteToGraphic(s)
	if q == `"`+s+`"` {
		return s
	}
	return q
}

// graphic quotes only what has control characters.
func graphic(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) }) {
		return strconv.QuoteToGraphic(s)
	}
	return s
}

func delimiterName(d string) string {
	names := map[string]string{",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe", " ": "space"}
	if name := names[d]; name != "" {
		return name
	}
	return quote(d)
}

// grouped writes a count with a comma before each three digits.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// share is a part in percent.
func share(part, whole int64) string {
	return fmt.Sprintf("%.1f%%", 100*float64(part)/float64(max(whole, 1)))
}
