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

func wholeLines(line int64) error {
	return &FileError{Line: line, Code: CodeBadHeader, Detail: "each line is quoted as a whole, so that it is one field",
		Hint: "save the file without the quotes around its lines"}
}

func badLineEnds(line int64) error {
	return &FileError{Line: line, Code: CodeBadHeader, Detail: "the header holds a CR that ends no line",
		Hint: "save the file with LF or CR LF line ends"}
}

// bareReturn reports whether a header has a CR that ends no line: the whole file may be
// one line to us, and every row would be lost.
func bareReturn(header string) bool {
	return strings.Count(header, "\r") > strings.Count(header, "\r\n")
}

// noHeader is the error of a file in which no line has all columns; there may be more
// lines than were searched.
func (r *Reader) noHeader(best *guess, more bool) error {
	where := ""
	if more {
		where = fmt.Sprintf(" in the first %d lines", searched)
	}
	switch {
	case best.line == 0:
		return &FileError{Code: CodeEmptyFile, Detail: "there is no header line" + where, Hint: "the header must name the columns"}
	case strings.IndexByte(best.raw, 0) >= 0:
		best.remedy = "the header holds NUL bytes: if the file is UTF-16 or UTF-32, save it as UTF-8, or set encoding, such as utf-16le"
	case bareReturn(best.raw):
		return badLineEnds(best.line)
	case best.err != nil:
		return best.err
	}
	e := &FileError{Line: best.line, Code: CodeMissingColumn, Hint: best.remedy}
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
	if more {
		e.Detail += "; no line" + where + " has all columns"
	}
	if e.Hint == "" {
		e.Hint = r.mapping(best, missing)
	}
	return e
}

// mapping is the hint that leads from the names in a file to the settings.
func (r *Reader) mapping(best *guess, missing []Column) string {
	header := strings.Join(best.names, "")
	if !slices.ContainsFunc(missing, func(c Column) bool { _, err := strconv.Atoi(c.Header); return err != nil }) {
		return "the setting columns names positions: if the file has no header, set header: none"
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
		ours := joined(c.Name)
		i := slices.IndexFunc(names, func(name string) bool {
			name = joined(name)
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

// joined is a name without what separates its words, as in transactionId.
func joined(name string) string { return strings.ReplaceAll(fold(name), " ", "") }

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
