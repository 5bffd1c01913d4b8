package extract

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// findPositions takes the columns for positions in a file without a header.
func (r *Reader) findPositions(delimiters string) error {
	for _, c := range r.columns {
		at, err := strconv.Atoi(strings.TrimSpace(c.Header))
		if err != nil || at < 1 {
			return &FileError{Code: CodeMissingColumn, Column: c.Name, Detail: fmt.Sprintf("%q is no position", c.Header),
				Hint: "with header: none, the setting columns names positions, the first is 1, such as " + positions(r.columns)}
		}
		r.required = max(r.required, at)
		r.record.place = append(r.record.place, at-1)
	}
	rows, err := r.splitRows(delimiters)
	if err != nil {
		return err
	}
	width := commonWidth(rows, r.required)
	r.scan.keep, r.named = width, width
	for i := range width {
		r.names = append(r.names, strconv.Itoa(i+1))
	}
	r.settleLimit()
	return nil
}

// splitRows gives the first rows under the delimiter that gives them the positions: the
// only one that gives most of them an integer as user id, or the only one that does.
func (r *Reader) splitRows(delimiters string) ([][]string, error) {
	s, need := r.scan, r.required
	var wide, fit []byte
	for _, delimiter := range []byte(delimiters) {
		s.delimiter = delimiter
		rows := s.sample(sampled)
		enough := slices.DeleteFunc(slices.Clone(rows), func(row []string) bool { return len(row) < need })
		switch n := len(enough); {
		case len(rows) > 0 && s.whole(rows, need):
			return nil, wholeLines(1)
		case n > 0 && 2*count(enough, r.hasUser) > n:
			fit = append(fit, delimiter)
		case n > 0 && (2*n > len(rows) || len(delimiters) == 1):
			wide = append(wide, delimiter)
		}
	}
	if len(fit) == 0 {
		fit = wide
	}
	switch {
	case s.err != nil && !errors.Is(s.err, io.EOF):
		return nil, fmt.Errorf("read the first record: %w", s.err)
	case len(fit) > 1:
		return nil, &FileError{Line: 1, Code: CodeMissingColumn, Hint: "set delimiter",
			Detail: fmt.Sprintf("the rows have the positions under each of the delimiters %q", fit)}
	case len(fit) == 0:
		return nil, r.noPositions(delimiters)
	}
	s.delimiter = fit[0]
	return s.sample(sampled), nil
}

// hasUser reports whether a row's user id is an integer.
func (r *Reader) hasUser(row []string) bool {
	i := slices.IndexFunc(r.columns, func(c Column) bool { return c.Name == "user_id" })
	if i < 0 {
		return false
	}
	_, err := strconv.Atoi(strings.TrimSuffix(strings.Trim(row[r.record.place[i]], "=\"' \t\u00a0"), ".0"))
	return err == nil
}

func count(rows [][]string, is func([]string) bool) (n int) {
	for _, row := range rows {
		if is(row) {
			n++
		}
	}
	return n
}

// commonWidth is how many fields most rows have of those that have enough.
func commonWidth(rows [][]string, enough int) (width int) {
	widths := map[int]int{}
	for _, row := range rows {
		n := len(row)
		if widths[n]++; n >= enough && (widths[n] > widths[width] || widths[n] == widths[width] && n > width) {
			width = n
		}
	}
	return width
}

// noPositions is the error of rows of which most do not have the positions.
func (r *Reader) noPositions(delimiters string) error {
	delimiter, rows := r.scan.consistent(delimiters, 1)
	r.scan.delimiter = delimiter
	var rec Record
	if len(rows) == 0 && r.scan.next(&rec) == nil {
		return &FileError{Line: rec.Line, Code: CodeBadHeader, Detail: "all of the first rows have faults, this one " + rec.Fault.String(),
			Hint: "if quotes are text in this file, set quote: none"}
	}
	i := slices.IndexFunc(r.record.place, func(place int) bool { return len(rows) > 0 && place >= len(rows[0]) })
	switch {
	case len(rows) == 0:
		return &FileError{Code: CodeEmptyFile, Detail: "there is no row"}
	case i < 0:
		return &FileError{Code: CodeMissingColumn, Detail: "most of the first rows have fewer fields than positions", Hint: "set delimiter"}
	}
	return &FileError{Code: CodeMissingColumn, Column: r.columns[i].Name, Hint: "correct the setting columns, or set delimiter",
		Detail: fmt.Sprintf("its position is %d, and the first row has %d fields at %q", r.record.place[i]+1, len(rows[0]), delimiter)}
}

// positions maps columns to the first fields.
func positions(columns []Column) string {
	i := 0
	return "{" + listed(columns, func(c Column) string {
		i++
		return c.Name + ": " + strconv.Itoa(i)
	}) + "}"
}
