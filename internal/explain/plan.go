package explain

import (
	"cmp"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Plan is the output of EXPLAIN for a statement.
type Plan struct {
	JSON      json.RawMessage `json:"-"` // unchanged
	Analyzed  bool            `json:"-"` // it was executed: times, rows, pages and WAL are measured
	Root      Node            `json:"Plan"`
	Planning  float64         `json:"Planning Time"`  // milliseconds; only if analyzed
	Execution float64         `json:"Execution Time"` // milliseconds; only if analyzed
}

// Node is one step of a plan. Measurements are 0 if the plan was not executed; pages include those of the steps below.
type Node struct {
	Type            string   `json:"Node Type"`
	Operation       string   `json:"Operation"` // of a ModifyTable: Insert, Update or Delete
	Strategy        string   `json:"Strategy"`  // of an aggregate
	Join            string   `json:"Join Type"`
	Relation        string   `json:"Relation Name"`
	CTE             string   `json:"CTE Name"`
	Index           string   `json:"Index Name"`
	Arbiters        []string `json:"Conflict Arbiter Indexes"` // of ON CONFLICT
	Subplan         string   `json:"Subplan Name"`
	Direction       string   `json:"Scan Direction"`
	Condition       string   `json:"Index Cond"`
	Filter          string   `json:"Filter"`
	Cost            float64  `json:"Total Cost"`
	PlanRows        float64  `json:"Plan Rows"`
	Rows            float64  `json:"Actual Rows"`       // a loop
	Time            float64  `json:"Actual Total Time"` // milliseconds a loop
	Loops           float64  `json:"Actual Loops"`      // 0: never executed
	Hit             int64    `json:"Shared Hit Blocks"`
	Read            int64    `json:"Shared Read Blocks"`
	WAL             int64    `json:"WAL Bytes"`
	FilterRemoved   float64  `json:"Rows Removed by Filter"` // a loop
	SubplansRemoved int      `json:"Subplans Removed"`       // partitions that were pruned by the arguments
	Children        []Node   `json:"Plans"`
}

// Buffers returns the number of pages that the step touched, in the cache or not.
func (n *Node) Buffers() int64 { return n.Hit + n.Read }

// Buffers returns the number of pages that the statement touched, in the cache or not.
func (p Plan) Buffers() int64 { return p.Root.Buffers() }

// Nodes returns all steps, each before those below it.
func (p Plan) Nodes() iter.Seq[*Node] {
	return func(yield func(*Node) bool) { p.Root.walk(yield) }
}

func (n *Node) walk(yield func(*Node) bool) bool {
	if !yield(n) {
		return false
	}
	for i := range n.Children {
		if !n.Children[i].walk(yield) {
			return false
		}
	}
	return true
}

// partitionName matches a month's partition of transactions, and the beginning of its index's name.
var partitionName = regexp.MustCompile(`^transactions_[0-9]{4}_[0-9]{2}`)

// Partitions returns the names of the partitions of transactions that the statement scans; of an analyzed one, those that it
// reached.
func (p Plan) Partitions() []string {
	names := map[string]bool{}
	for n := range p.Nodes() {
		if partitionName.MatchString(n.Relation) && n.Type != "ModifyTable" && (n.Loops > 0 || !p.Analyzed) {
			names[n.Relation] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// Text formats the plan like EXPLAIN's own text.
func (p Plan) Text() string {
	var b strings.Builder
	p.Root.text(&b, p.Analyzed, 0)
	if p.Analyzed {
		fmt.Fprintf(&b, "Planning: %.3f ms, execution: %.3f ms, pages: %d (%d read)", p.Planning, p.Execution, p.Buffers(), p.Root.Read)
		if wal := p.Root.WAL; wal > 0 {
			fmt.Fprintf(&b, ", WAL: %d bytes", wal)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func (n *Node) text(b *strings.Builder, analyzed bool, depth int) {
	indent := strings.Repeat("  ", depth)
	fmt.Fprintf(b, "%s%s  (rows=%.0f", indent, n.Title(), n.PlanRows)
	switch {
	case !analyzed:
		fmt.Fprintf(b, " cost=%.2f)\n", n.Cost)
	case n.Loops == 0:
		b.WriteString(", never executed)\n")
	default:
		fmt.Fprintf(b, ", actual rows=%g loops=%.0f time=%.3f ms pages=%d)\n", n.Rows, n.Loops, n.Time, n.Buffers())
	}
	if n.Condition != "" {
		fmt.Fprintf(b, "%s    Index Cond: %s\n", indent, n.Condition)
	}
	if n.Filter != "" {
		fmt.Fprintf(b, "%s    Filter: %s\n", indent, n.Filter)
	}
	if n.FilterRemoved > 0 {
		fmt.Fprintf(b, "%s    Rows Removed by Filter: %.0f\n", indent, n.FilterRemoved)
	}
	for i := range n.Children {
		n.Children[i].text(b, analyzed, depth+1)
	}
}

// Title names the step, its relation and its index.
func (n *Node) Title() string {
	title := cmp.Or(n.Operation, n.Type)
	for _, kind := range []string{n.Strategy, n.Join, n.Direction} {
		if !slices.Contains([]string{"", "Plain", "Inner", "Forward"}, kind) {
			title += " " + strings.ToLower(kind)
		}
	}
	for _, part := range []struct{ word, text string }{
		{"using", n.Index}, {"on", n.Relation + n.CTE}, {"by", strings.Join(n.Arbiters, ", ")},
	} {
		if part.text != "" {
			title += " " + part.word + " " + part.text
		}
	}
	if n.SubplansRemoved > 0 {
		title += fmt.Sprintf(" (%d removed)", n.SubplansRemoved)
	}
	// "InitPlan 1 (returns $0)" until PostgreSQL 16, "InitPlan 1" from 17 on.
	if subplan, _, _ := strings.Cut(n.Subplan, " ("); subplan != "" {
		title = subplan + ": " + title
	}
	return title
}
