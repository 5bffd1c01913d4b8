package transform

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
)

// WriteText writes the profile for people. What comes from the file is quoted,
// so that no control character of it reaches a terminal.
func (p *Profile) WriteText(w io.Writer) error {
	var b strings.Builder
	p.writeFile(&b)
	p.writeFaults(&b)
	writeShapes(&b, "dates", p.DateShapes)
	p.writeSeparators(&b)
	writeShapes(&b, "amounts", p.AmountShapes)
	if len(p.Currencies) > 0 {
		writeShapes(&b, "currency marks", p.Currencies)
	}
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

func (p *Profile) writeSeparators(b *strings.Builder) {
	if len(p.Separators) == 0 {
		return
	}
	b.WriteString("\norder of month and day\n")
	table(b, func(row func(...string)) {
		row("", "rule", "only month first", "only day first", "same either way", "ambiguous", "verdict")
		for _, s := range p.Separators {
			row("1"+s.Separator+"2"+s.Separator+"2024", s.Order.name(),
				grouped(s.MonthFirst), grouped(s.DayFirst), grouped(s.Alike), grouped(s.Ambiguous), s.verdict())
		}
	})
}

// verdict says what becomes of the ambiguous dates.
func (s SeparatorCount) verdict() string {
	agree, against, other := s.MonthFirst, s.DayFirst, DayFirst
	if s.Order == DayFirst {
		agree, against, other = against, agree, MonthFirst
	}
	switch {
	case s.Contradicted && agree == 0:
		return fmt.Sprintf("the file contradicts the rule: ambiguous dates are rejected, unless the source's rules say %q", string(other))
	case s.Contradicted:
		return fmt.Sprintf("the file mixes both orders (%s against the rule): ambiguous dates are rejected", grouped(against))
	case agree > 0:
		return "the file follows the rule"
	default:
		return "the file does not tell: ambiguous dates are read by the rule"
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
	if len(p.Currencies) > 1 {
		fmt.Fprintf(b, "Amounts carry %d different currency marks; they are added up as plain numbers.\n", len(p.Currencies))
	}
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
	default:
		return "pipe"
	}
}

func (o DateOrder) name() string {
	if o == DayFirst {
		return "day first"
	}
	return "month first"
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
