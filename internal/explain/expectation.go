package explain

import (
	"fmt"
	"slices"
	"strings"
)

// A table of a few pages is read from end to end sooner than by an index.
const (
	maxSmallPages = 8  // of an analyzed step, a loop
	maxSmallCost  = 40 // of a step that was only planned: some 10 pages of 100 rows
)

// partitionsKey is the primary key of transactions; each partition has its own part, named after the partition.
const partitionsKey = "transactions_pkey"

// Expectation must hold for a plan on any database of some size; the zero value expects nothing.
type Expectation struct {
	// Indexes, or primary keys of the parents of partitions, must all be used.
	Indexes []string
	// MaxPartitions bounds the partitions of transactions that are scanned; 0 is no bound.
	MaxPartitions int
	// MaxBuffers bounds the pages that are touched, in the cache or not; 0 is no bound.
	MaxBuffers int64
	// WholeTable marks a statement that has to read tables from end to end.
	WholeTable bool
}

// Violations returns a sentence for each part of the expectation that does not hold.
func (p Plan) Violations(e Expectation) []string {
	var all []string
	for _, index := range e.Indexes {
		if sentence := p.unused(index); sentence != "" {
			all = append(all, sentence)
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

// unused describes the steps that replace an index, or returns "" if it is used.
func (p Plan) unused(index string) string {
	used, other := false, ""
	for n := range p.Nodes() {
		if n.uses(index) {
			used = true
		} else if n.Index != "" && other == "" && n.Relation != "" && strings.HasPrefix(index, n.Relation+"_") {
			other = n.Index
		}
	}
	table := strings.TrimSuffix(index, "_pkey")
	var whole []string
	for n := range p.Nodes() {
		// A partition without its part of the key is one too many; of other tables, a scan is wrong if the index is not used
		// at all.
		if p.readsWhole(n) && (index == partitionsKey && partitionName.MatchString(n.Relation) ||
			!used && (n.Relation == table || strings.HasPrefix(index, n.Relation+"_"))) {
			whole = append(whole, p.describe(n))
		}
	}
	switch {
	case len(whole) > 0:
		return fmt.Sprintf("index %s is not used: %s", index, strings.Join(whole, "; "))
	case !used && other != "":
		return fmt.Sprintf("index %s is not used: %s is, in its place", index, other)
	}
	return ""
}

// uses reports whether the step uses an index, or a partition's part of it.
func (n *Node) uses(index string) bool {
	return n.Index == index || slices.Contains(n.Arbiters, index) ||
		index == partitionsKey && partitionName.MatchString(n.Index) && strings.HasSuffix(n.Index, "_pkey")
}

func (p Plan) readsWhole(n *Node) bool {
	switch {
	case n.Type != "Seq Scan":
		return false
	case !p.Analyzed:
		return n.Cost > maxSmallCost
	default:
		return n.Loops > 0 && float64(n.Buffers())/n.Loops > maxSmallPages
	}
}

func (p Plan) describe(n *Node) string {
	if !p.Analyzed {
		return fmt.Sprintf("%s is read from end to end, at a cost of %.0f", n.Relation, n.Cost)
	}
	return fmt.Sprintf("%s is read from end to end, %d pages", n.Relation, n.Buffers())
}
