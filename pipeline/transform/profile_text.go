package transform

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"
)

// WriteText writes the profile for people. What comes from the file is quoted,
// so that no control character of it reaches a terminal.
func (p *Profile) WriteText(w io.Writer) error {
	var b strings.Builder
	p.writeFile(&b)
	p.writeFaults(&b)
	writeShapes(&b, "dates", p.DateShapes)
	p.writeConventions(&b)
	writeShapes(&b, "amounts", p.AmountShapes)
	if len(p.Currencies) > 0 {
		writeShapes(&b, "currency marks", p.Currencies)
	}
	p.writeRows(&b)
	writeList(&b, "hints", p.Hints)
	writeList(&b, "warnings", p.Warnings)
	p.writeVerdict(&b)
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write profile: %w", err)
	}
	return nil
}

func (p *Profile) writeFile(b *strings.Builder) {
	fmt.Fprintf(b, "%s\n", strconv.QuoteToGraphic(p.Path))
	table(b, func(row func(...string)) {
		size := grouped(p.Bytes) + " bytes"
		if p.Compression != "" {
			size += ", " + grouped(p.Size) + " on disk (" + p.Compression + ")"
		}
		row("size", size)
		row("sha256", p.SHA256)
		row("encoding", p.Encoding)
		row("line ends", p.LineEnds)
		row("delimiter", delimiterName(p.Delimiter))
		row("columns", strings.Join(quoted(p.Columns), " "))
		row("rows", grouped(p.Read))
		if p.EmptyLines > 0 {
			row("empty lines", grouped(p.EmptyLines)+", skipped")
		}
		row("users", atLeast(p.UsersAtLeast)+grouped(p.Users))
		if p.From != "" {
			row("dates", p.From+" to "+p.To)
		}
	})
}

func (p *Profile) writeFaults(b *strings.Builder) {
	if len(p.Faults) == 0 {
		b.WriteString("\nno faults\n")
		return
	}
	b.WriteString("\nfaults\n")
	table(b, func(row func(...string)) {
		row("", "counted", "rows with it", "first line", "which is")
		for _, f := range p.Faults {
			row(f.Fault, grouped(f.Count), grouped(f.Rows), strconv.FormatInt(f.Line, 10), quote(f.Example))
		}
	})
	b.WriteString("  A row with several faults is counted under the first of them.\n")
}

func writeShapes(b *strings.Builder, title string, shapes []ShapeCount) {
	b.WriteString("\n" + title + "\n")
	table(b, func(row func(...string)) {
		row("", "cells", "first line", "which is")
		for _, s := range shapes {
			row(bare(s.Shape), grouped(s.Count), strconv.FormatInt(s.Line, 10), quote(s.Example))
		}
	})
}

func (p *Profile) writeConventions(b *strings.Builder) {
	if len(p.Conventions) == 0 {
		return
	}
	b.WriteString("\nconventions\n")
	table(b, func(row func(...string)) {
		row("", "holds", "by", "proofs", "", "same either way", "ambiguous", "first proof")
		for _, c := range p.Conventions {
			first, second := c.convention.Name(MonthFirst), c.convention.Name(DayFirst)
			proof := ""
			if seen := c.firstProof(); seen.Cells > 0 {
				proof = "line " + strconv.FormatInt(seen.Line, 10) + ": " + quote(seen.Example)
			}
			row(c.Setting, cmp.Or(c.Choice, "not known"), cmp.Or(string(c.Origin), "nothing"),
				first+" "+grouped(c.First.Cells), second+" "+grouped(c.Second.Cells),
				grouped(c.Alike.Cells), grouped(c.Ambiguous.Cells), proof)
		}
	})
}

// firstProof is the first value that can be read in one way only, if there is one.
func (n Counts) firstProof() Seen {
	if n.First.Cells == 0 || n.Second.Cells > 0 && n.Second.Line < n.First.Line {
		return n.Second
	}
	return n.First
}

func (p *Profile) writeRows(b *strings.Builder) {
	if len(p.Rows) == 0 {
		return
	}
	b.WriteString("\nfirst rows, as they would be loaded\n")
	table(b, func(row func(...string)) {
		row("line", "transaction_id", "user_id", "amount", "transaction_date")
		for _, r := range p.Rows {
			row(strconv.FormatInt(r.Line, 10), bare(r.TransactionID), strconv.Itoa(int(r.UserID)), r.Amount.String(), r.TransactionDate)
		}
	})
}

func writeList(b *strings.Builder, title string, list []string) {
	if len(list) > 0 {
		b.WriteString("\n" + title + "\n")
	}
	for _, s := range list {
		if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) }) {
			s = strconv.QuoteToGraphic(s)
		}
		b.WriteString("  " + s + "\n")
	}
}

func (p *Profile) writeVerdict(b *strings.Builder) {
	share := 0.0
	if p.Read > 0 {
		share = 100 * float64(p.Rejected) / float64(p.Read)
	}
	outcome := "within the reject limit of " + p.RejectLimit
	if p.Exceeded {
		outcome = "past the reject limit of " + p.RejectLimit + ": a load would refuse the file"
	}
	fmt.Fprintf(b, "\n%s of %s rows are valid; %s are rejected (%.1f%%), %s.\n",
		grouped(p.Valid), grouped(p.Read), grouped(p.Rejected), share, outcome)
	b.WriteString("Ids that come twice were not looked for; a load finds them.\n")
}

// table aligns rows of cells.
func table(b *strings.Builder, fill func(row func(...string))) {
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fill(func(cells ...string) {
		fmt.Fprintf(w, "  %s\n", strings.Join(cells, "\t")) // a strings.Builder takes everything
	})
	_ = w.Flush() // likewise
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

func quoted(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = bare(s)
	}
	return out
}

func delimiterName(d string) string {
	switch d {
	case ",":
		return "comma"
	case ";":
		return "semicolon"
	case "\t":
		return "tab"
	case "|":
		return "pipe"
	case " ":
		return "space"
	default:
		return quote(d)
	}
}

func atLeast(yes bool) string {
	if yes {
		return "at least "
	}
	return ""
}

// grouped writes a count with a comma before each three digits.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
