package explain

import (
	"fmt"
	"strings"
)

// Text is the plan for a reader, in the way of EXPLAIN's own text.
func (p Plan) Text() string {
	var b strings.Builder
	p.Root.text(&b, p.Analyzed, 0)
	if p.Analyzed {
		fmt.Fprintf(&b, "Planning: %.3f ms, execution: %.3f ms, pages: %d (%d read)", p.Planning, p.Execution, p.Buffers(), p.Root.Read)
		if wal := p.WAL(); wal > 0 {
			fmt.Fprintf(&b, ", WAL: %d bytes", wal)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func (n *Node) text(b *strings.Builder, analyzed bool, depth int) {
	indent := strings.Repeat("  ", depth)
	fmt.Fprintf(b, "%s%s  (rows=%.0f", indent, n.title(func(name string) string { return name }), n.PlanRows)
	switch {
	case !analyzed:
		fmt.Fprintf(b, " cost=%.2f)\n", n.Cost)
	case n.Loops == 0:
		b.WriteString(", never executed)\n")
	default:
		fmt.Fprintf(b, ", actual rows=%g loops=%.0f time=%.3f ms pages=%d)\n", n.Rows, n.Loops, n.Time, n.Buffers())
	}
	for _, line := range []struct{ name, text string }{{"Index Cond", n.Condition}, {"Filter", n.Filter}} {
		if line.text != "" {
			fmt.Fprintf(b, "%s    %s: %s\n", indent, line.name, line.text)
		}
	}
	if n.FilterRemoved > 0 {
		fmt.Fprintf(b, "%s    Rows Removed by Filter: %.0f\n", indent, n.FilterRemoved)
	}
	for i := range n.Children {
		n.Children[i].text(b, analyzed, depth+1)
	}
}
