package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
)

//go:embed report.html.tmpl
var page string

//go:embed report.css
var sheet string

// WriteHTML writes the report as one file that needs neither a network nor a script,
// and that follows the reader's colours and width. Whatever stands in the database is
// escaped.
func WriteHTML(w io.Writer, r *Report) error {
	return writeHTML(w, layOut(r))
}

func writeHTML(w io.Writer, d document) error {
	shown, err := template.New("report").Funcs(template.FuncMap{
		"css": func() template.CSS { return template.CSS(sheet) },
		"svg": func(p *picture) (template.HTML, error) {
			drawn, err := p.svg()
			return template.HTML(drawn), err // chart escapes the texts in it
		},
	}).Parse(page)
	if err != nil {
		return fmt.Errorf("parse the report's page: %w", err)
	}
	var out strings.Builder
	if err := shown.Execute(&out, d); err != nil {
		return fmt.Errorf("lay the report's page out: %w", err)
	}
	if _, err := io.WriteString(w, visible(out.String(), "\n\t")); err != nil {
		return fmt.Errorf("write the report as HTML: %w", err)
	}
	return nil
}
