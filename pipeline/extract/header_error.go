package extract

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

func badHeader(line int64, fault Fault) error {
	return &FileError{Line: line, Code: CodeBadHeader, Detail: "the header has the fault " + fault.String(),
		Hint: "the header must name the columns, and close its quotes"}
}

// bareReturn is the error of a header with a CR that ends no line: the whole file may be
// one line to us, and every row would be lost.
func bareReturn(line int64, header string) error {
	if strings.Count(header, "\r") == strings.Count(header, "\r\n") {
		return nil
	}
	return &FileError{Line: line, Code: CodeBadHeader, Detail: "the header holds a CR that ends no line",
		Hint: "save the file with LF or CR LF line ends"}
}

// noHeader is the error of a file in which no line has all columns.
func (r *Reader) noHeader(best, refused *guess) error {
	switch {
	case refused.whole:
		return &FileError{Line: refused.line, Code: CodeBadHeader, Detail: "each line is quoted as a whole, so that it is one field",
			Hint: "save the file without the quotes around its lines"}
	case refused.mentions:
		return badHeader(refused.line, refused.fault)
	case best.line == 0:
		return &FileError{Code: CodeEmptyFile, Detail: "there is no header line", Hint: "the header must name the columns"}
	case best.fault != 0:
		return badHeader(best.line, best.fault)
	}
	if err := bareReturn(best.line, strings.Join(best.names, ",")); err != nil {
		return err
	}
	e := &FileError{Line: best.line, Code: CodeMissingColumn}
	var missing []Column
	places, _ := r.find(best.names)
	for i, c := range r.columns {
		if places[i] == nil {
			missing = append(missing, c)
		}
	}
	e.Column = listed(missing, func(c Column) string { return c.Name })
	e.Detail = fmt.Sprintf("the header has %q", clip(strings.Join(best.names, string(best.delimiter)), 200))
	if slices.ContainsFunc(missing, func(c Column) bool { return fold(c.Header) != fold(c.Name) }) {
		e.Detail += ", and not " + clip(listed(missing, func(c Column) string { return strconv.Quote(c.Header) }), 100)
	}
	e.Hint = r.mapping(best, missing)
	return e
}

// mapping is the hint that leads from the names in a file to the settings.
func (r *Reader) mapping(best *guess, missing []Column) string {
	header := strings.Join(best.names, "")
	if strings.IndexByte(header, 0) >= 0 {
		return "the header holds NUL bytes: if the file is UTF-16 or UTF-32, save it as UTF-8, or set encoding, such as utf-16le"
	}
	unused := slices.DeleteFunc(slices.Clone(best.names), func(name string) bool { return name == "" || slices.Contains(r.wanted, fold(name)) })
	name := example(append(unused, "its name in the file"), missing)
	hint := "map other names with the setting columns, such as columns: " + name + "; tally check --settings FILE proposes it"
	if strings.ContainsRune(header, '\uFFFD') {
		hint += "; the header is not UTF-8: set encoding, such as windows-1252"
	}
	if best.found == 0 && best.line == r.scan.lines+1 && strings.ContainsAny(header, "0123456789") {
		hint += "; if the first line is a row, set header: none and positions, such as columns: " + positions(r.columns)
	}
	return hint
}

// example maps the missing columns that a name resembles, or any if none does.
func example(names []string, missing []Column) string {
	var entries []string
	for _, c := range missing {
		ours := fold(c.Name)
		i := slices.IndexFunc(names, func(name string) bool {
			name = fold(name)
			return len(name) > 2 && (strings.Contains(name, ours) || strings.Contains(ours, name))
		})
		if i >= 0 {
			entries = append(entries, c.Name+": "+strconv.Quote(clip(names[i], 50)))
		}
	}
	if entries == nil {
		entries = append(entries, missing[0].Name+": "+strconv.Quote(clip(names[0], 50)))
	}
	return "{" + strings.Join(entries, ", ") + "}"
}

// positions maps columns to the first fields.
func positions(columns []Column) string {
	i := 0
	return "{" + listed(columns, func(c Column) string {
		i++
		return c.Name + ": " + strconv.Itoa(i)
	}) + "}"
}

func listed(columns []Column, text func(Column) string) string {
	var texts []string
	for _, c := range columns {
		if t := text(c); !slices.Contains(texts, t) {
			texts = append(texts, t)
		}
	}
	return strings.Join(texts, ", ")
}

// clip shortens s to n bytes for a message.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
