package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"github.com/rivo/uniseg"
	"golang.org/x/term"
)

// terminal is the terminal that a stream is written to. The zero value is a file or a
// pipe, which gets all text and no colors.
type terminal struct {
	width int // in columns; 0 is unlimited
	color bool
}

// Colors, as parameters of the escape sequence.
const (
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
)

func terminalOf(w io.Writer) terminal {
	file, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return terminal{}
	}
	width, _, err := term.GetSize(int(file.Fd()))
	if err != nil {
		width = 0
	}
	return terminal{width: width, color: colors(os.Getenv)}
}

// colors reports whether a terminal gets colors: not with NO_COLOR (see no-color.org), nor
// on the old console of Windows, which prints the sequences as they are.
func colors(getenv func(string) string) bool {
	return getenv("NO_COLOR") == "" && getenv("TERM") != "dumb" && (runtime.GOOS != "windows" || getenv("WT_SESSION") != "")
}

// paint colors a text, on a terminal.
func (t terminal) paint(color, text string) string {
	if !t.color || color == "" || text == "" {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

// colorOf is the color of a state or a verdict.
func colorOf(state string) string {
	switch state {
	case "loaded", "succeeded", "clean":
		return green
	case "failed", "missing", "drift":
		return red
	case "retrying", "unfinished", "running", "due", "pending", "rejected", "conflict":
		return yellow
	}
	return ""
}

// column is a column of a table.
type column struct {
	title string
	kind  columnKind
}

type columnKind int

const (
	kindText   columnKind = iota // such as a date
	kindNumber                   // right-aligned
	kindState                    // has a color
	kindLong                     // may be shortened, such as a path
)

const (
	minText   = 16 // columns that a shortened text has at least
	columnGap = "  "
)

// table writes rows that fit the terminal: texts are shortened in the middle, and where
// that is not enough each row becomes lines of titles and values.
func (t terminal) table(w io.Writer, columns []column, rows [][]string) error {
	widths := make([]int, len(columns))
	total := len(columnGap) * (len(columns) - 1)
	for i, c := range columns {
		widths[i] = uniseg.StringWidth(c.title)
		for _, row := range rows {
			row[i] = printable(row[i])
			widths[i] = max(widths[i], uniseg.StringWidth(row[i]))
		}
		total += widths[i]
	}
	for t.width > 0 && total > t.width {
		widest := -1
		for i, c := range columns {
			if c.kind == kindLong && widths[i] > minText && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return t.records(w, columns, rows)
		}
		widths[widest]--
		total--
	}
	var b strings.Builder
	titles := make([]string, len(columns))
	for i, c := range columns {
		titles[i] = c.title
	}
	t.writeRow(&b, columns, widths, titles, true)
	for _, row := range rows {
		t.writeRow(&b, columns, widths, row, false)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (t terminal) writeRow(b *strings.Builder, columns []column, widths []int, row []string, head bool) {
	pad := ""
	for i, c := range columns {
		cell := shortened(row[i], widths[i])
		space := strings.Repeat(" ", widths[i]-uniseg.StringWidth(cell))
		color := bold
		if !head {
			color = ""
			if c.kind == kindState {
				color = colorOf(cell)
			}
		}
		b.WriteString(pad)
		if c.kind == kindNumber {
			b.WriteString(space)
			space = ""
		}
		b.WriteString(t.paint(color, cell))
		pad = space + columnGap // none at the end of the line
	}
	b.WriteByte('\n')
}

// records writes a row as lines, with an empty line before the next one.
func (t terminal) records(w io.Writer, columns []column, rows [][]string) error {
	titles := 0
	for _, c := range columns {
		titles = max(titles, uniseg.StringWidth(c.title))
	}
	var errs []error
	for n, row := range rows {
		if n > 0 {
			_, err := fmt.Fprintln(w)
			errs = append(errs, err)
		}
		for i, c := range columns {
			title := c.title + strings.Repeat(" ", titles-uniseg.StringWidth(c.title))
			_, err := fmt.Fprintf(w, "%s%s%s\n", t.paint(bold, title), columnGap, row[i])
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// shortened cuts out the middle of a text that is wider; the end of a path says most.
func shortened(text string, width int) string {
	if uniseg.StringWidth(text) <= width {
		return text
	}
	head, tail := []rune(text), []rune(text)
	for uniseg.StringWidth(string(head)) > width/3 {
		head = head[:len(head)-1]
	}
	for len(tail) > 0 && uniseg.StringWidth(string(head)+"…"+string(tail)) > width {
		tail = tail[1:]
	}
	return string(head) + "…" + string(tail)
}
