package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A table of a few pages is read from end to end sooner than by an index, and any of its indexes
// will do.
const (
	maxSmallPages = 8  // of an analyzed step, a loop
	maxSmallCost  = 40 // of a step that was only planned: some 10 pages of 100 rows
)

// partitionsKey is the primary key of transactions; each partition has its own part, named after the partition.
const partitionsKey = "transactions_pkey"

// Expectation must hold for a plan on any database of some size; the zero value expects nothing.
type Expectation struct {
	Indexes       []string // all must be used; primary keys of partitioned tables by their partitions' parts
	MaxPartitions int      // of transactions that are scanned; 0 is no bound
	MaxBuffers    int64    // pages that are touched, in the cache or not; 0 is no bound
	WholeTable    bool     // the statement has to read tables from end to end
}

// Violations returns a sentence for each part of the expectation that does not hold.
func (p Plan) Violations(e Expectation) []string {
	var all []string
	for _, index := range e.Indexes {
		if instead := p.insteadOf(index); instead != "" {
			all = append(all, fmt.Sprintf("index %s is not used: %s", index, instead))
		}
	}
	if names := p.Partitions(); e.MaxPartitions > 0 && len(names) > e.MaxPartitions {
		all = append(all, fmt.Sprintf("%d partitions of transactions are scanned, where at most %d hold what is asked for: %s",
			len(names), e.MaxPartitions, strings.Join(names, ", ")))
	}
	if pages := p.Buffers(); p.Analyzed && e.MaxBuffers > 0 && pages > e.MaxBuffers {
		all = append(all, fmt.Sprintf("%d pages are touched, where at most %d are needed", pages, e.MaxBuffers))
	}
	return all
}

// insteadOf describes the steps that replace an index, or returns "" if it is used.
func (p Plan) insteadOf(index string) string {
	used := slices.ContainsFunc(slices.Collect(p.Nodes()), func(n *Node) bool { return n.uses(index) })
	var other string
	var whole []string
	for n := range p.Nodes() {
		ofTable := n.Relation != "" && strings.HasPrefix(index, n.Relation+"_")
		if !used && ofTable && n.Index != "" && other == "" && p.large(n) {
			other = n.Index + " is, in its place"
		}
		// A partition without its part of the key is one too many; of other tables, a scan is wrong if the index is not used
		// at all.
		if p.readsWhole(n) && (!used && ofTable || index == partitionsKey && partitionName.MatchString(n.Relation)) {
			whole = append(whole, p.describe(n))
		}
	}
	return cmp.Or(strings.Join(whole, "; "), other)
}

// uses reports whether the step uses an index, or a partition's part of it.
func (n *Node) uses(index string) bool {
	return n.Index == index || slices.Contains(n.Arbiters, index) ||
		index == partitionsKey && partitionName.MatchString(n.Index) && strings.HasSuffix(n.Index, "_pkey")
}

func (p Plan) readsWhole(n *Node) bool { return n.Type == "Seq Scan" && p.large(n) }

// large reports whether a step reads more than a few pages.
func (p Plan) large(n *Node) bool {
	if !p.Analyzed {
		return n.Cost > maxSmallCost
	}
	return n.Loops > 0 && float64(n.Buffers())/n.Loops > maxSmallPages
}

func (p Plan) describe(n *Node) string {
	if !p.Analyzed {
		return fmt.Sprintf("%s is read from end to end, at a cost of %.0f", n.Relation, n.Cost)
	}
	return fmt.Sprintf("%s is read from end to end, %d pages", n.Relation, n.Buffers())
}
