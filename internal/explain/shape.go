package explain

import (
	"fmt"
	"math/bits"
	"strings"
)

// Shape is what of a plan should stay as it is while the data grows: its steps, with
// what they are on and by which index, and how many partitions are scanned. Months
// are left out, and equal steps beside each other are counted; there are no costs,
// times or rows.
func (p Plan) Shape() string {
	var b strings.Builder
	for _, line := range p.Root.shape() {
		b.WriteString(line + "\n")
	}
	if n := len(p.Partitions()); n > 0 {
		fmt.Fprintf(&b, "partitions scanned: %d\n", n)
	}
	return b.String()
}

// BuffersBound is a power of two that the pages of a run of the same plan do not pass:
// a quarter more than were touched is let through.
func (p Plan) BuffersBound() int64 {
	pages := p.Buffers() + p.Buffers()/4
	if pages <= 1 {
		return pages
	}
	return 1 << bits.Len64(uint64(pages-1))
}

func (n *Node) shape() []string {
	lines := []string{n.title(anyMonth)}
	last, count := []string(nil), 0
	flush := func() {
		for i, line := range last {
			if i == 0 && count > 1 {
				line += fmt.Sprintf(" ×%d", count)
			}
			lines = append(lines, "  "+line)
		}
	}
	for i := range n.Children {
		child := n.Children[i].shape()
		if count > 0 && strings.Join(child, "\n") == strings.Join(last, "\n") {
			count++
			continue
		}
		flush()
		last, count = child, 1
	}
	flush()
	return lines
}

// title names the step: what is done, on what, by what.
func (n *Node) title(name func(string) string) string {
	words := []string{n.Type}
	if n.Operation != "" {
		words[0] = n.Operation
	}
	if n.Strategy != "" && n.Strategy != "Plain" {
		words = append(words, strings.ToLower(n.Strategy))
	}
	if n.Join != "" && n.Join != "Inner" {
		words = append(words, strings.ToLower(n.Join))
	}
	if n.Direction == "Backward" {
		words = append(words, "backward")
	}
	if n.Index != "" {
		words = append(words, "using "+name(n.Index))
	}
	if on := n.Relation + n.CTE; on != "" {
		words = append(words, "on "+name(on))
	}
	if len(n.Arbiters) > 0 {
		words = append(words, "by "+strings.Join(n.Arbiters, ", "))
	}
	if n.SubplansRemoved > 0 {
		words = append(words, fmt.Sprintf("(%d removed)", n.SubplansRemoved))
	}
	if n.Subplan != "" {
		// "InitPlan 1 (returns $0)" until PostgreSQL 16, "InitPlan 1" from 17 on.
		subplan, _, _ := strings.Cut(n.Subplan, " (")
		words = append([]string{subplan + ":"}, words...)
	}
	return strings.Join(words, " ")
}

func anyMonth(name string) string {
	return partitionName.ReplaceAllString(name, "transactions_<month>")
}
