package explain

import (
	"encoding/json"
	"iter"
	"regexp"
	"slices"
)

// Plan is what EXPLAIN says of a statement.
type Plan struct {
	JSON      json.RawMessage   `json:"-"` // as EXPLAIN gives it
	Analyzed  bool              `json:"-"` // it was carried out: times, rows, pages and WAL are measured
	Root      Node              `json:"Plan"`
	Planning  float64           `json:"Planning Time"`  // milliseconds; analyzed ones only
	Execution float64           `json:"Execution Time"` // milliseconds; analyzed ones only
	Settings  map[string]string `json:"Settings"`       // of the planner, that differ from its defaults
}

// Node is one step of a plan. What was measured is 0 where the plan was not carried
// out; pages include those of the steps below.
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
	Loops           float64  `json:"Actual Loops"`      // 0: never carried out
	Hit             int64    `json:"Shared Hit Blocks"`
	Read            int64    `json:"Shared Read Blocks"`
	Dirtied         int64    `json:"Shared Dirtied Blocks"`
	Written         int64    `json:"Shared Written Blocks"`
	WAL             int64    `json:"WAL Bytes"`
	FilterRemoved   float64  `json:"Rows Removed by Filter"` // a loop
	SubplansRemoved int      `json:"Subplans Removed"`       // partitions that were not looked at, as the arguments said
	Children        []Node   `json:"Plans"`
}

// Buffers are the pages that the step touched, in the cache or not.
func (n *Node) Buffers() int64 { return n.Hit + n.Read }

// Buffers are the pages that the statement touched, in the cache or not.
func (p Plan) Buffers() int64 { return p.Root.Buffers() }

// WAL is how many bytes of WAL the statement wrote.
func (p Plan) WAL() int64 { return p.Root.WAL }

// Nodes are all steps, each before those below it.
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

// partitionName is how Tally calls a month's partition of transactions, and the
// beginning of what its index is called.
var partitionName = regexp.MustCompile(`^transactions_[0-9]{4}_[0-9]{2}`)

// Partitions are the partitions of transactions that the statement scans, by name;
// of an analyzed one those that it came to.
func (p Plan) Partitions() []string {
	var names []string
	for n := range p.Nodes() {
		if partitionName.MatchString(n.Relation) && n.Type != "ModifyTable" && (n.Loops > 0 || !p.Analyzed) {
			names = append(names, n.Relation)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
