package explain

import (
	"fmt"
	"strings"
)

// A table of a few pages is read from end to end sooner than by an index: no plan is
// blamed for that.
const (
	smallPages = 8  // of an analyzed step, a loop
	smallCost  = 40 // of a step that was only planned: some 10 pages of 100 rows
)

// partitionsKey is the primary key of transactions, of which each partition has its
// own part, named after the partition.
const partitionsKey = "transactions_pkey"

// Judge says in a sentence each what of the query's expectation the plan denies;
// nothing where it holds.
func (p Plan) Judge(q Query) []string {
	var denied []string
	for _, index := range q.Expect.Indexes {
		if sentence := p.judgeIndex(index); sentence != "" {
			denied = append(denied, sentence)
		}
	}
	if names, most := p.Partitions(), q.Expect.MostPartitions; most > 0 && len(names) > most {
		denied = append(denied, fmt.Sprintf("%d partitions of transactions are scanned, where at most %d hold what is asked for: %s",
			len(names), most, strings.Join(names, ", ")))
	}
	if pages, most := p.Buffers(), q.Expect.MostBuffers; p.Analyzed && most > 0 && pages > most {
		denied = append(denied, fmt.Sprintf("%d pages are touched, where at most %d are needed", pages, most))
	}
	return denied
}

// judgeIndex says what is done instead of using an index.
func (p Plan) judgeIndex(index string) string {
	used, other := false, ""
	for n := range p.Nodes() {
		switch {
		case n.uses(index):
			used = true
		case n.Index != "" && other == "" && p.belongs(n.Index, index):
			other = n.Index
		}
	}
	table := strings.TrimSuffix(index, "_pkey")
	var whole []string
	for n := range p.Nodes() {
		if !p.readsWhole(n) {
			continue
		}
		// A partition without its part of the key is one too many; of other tables,
		// a scan is wrong where the index is not used at all.
		if index == partitionsKey && partitionName.MatchString(n.Relation) || !used && (n.Relation == table || strings.HasPrefix(index, n.Relation+"_")) {
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

// uses says whether the step goes by an index, or by a partition's part of it.
func (n *Node) uses(index string) bool {
	if n.Index == index || index == partitionsKey && partitionName.MatchString(n.Index) && strings.HasSuffix(n.Index, "_pkey") {
		return true
	}
	for _, arbiter := range n.Arbiters {
		if arbiter == index {
			return true
		}
	}
	return false
}

// belongs says whether another index is of the same table.
func (p Plan) belongs(other, index string) bool {
	for n := range p.Nodes() {
		if n.Index == other && n.Relation != "" && strings.HasPrefix(index, n.Relation+"_") {
			return true
		}
	}
	return false
}

func (p Plan) readsWhole(n *Node) bool {
	if n.Type != "Seq Scan" {
		return false
	}
	if !p.Analyzed {
		return n.Cost > smallCost
	}
	return n.Loops > 0 && float64(n.Buffers())/n.Loops > smallPages
}

func (p Plan) describe(n *Node) string {
	if !p.Analyzed {
		return fmt.Sprintf("%s is read from end to end, at a cost of %.0f", n.Relation, n.Cost)
	}
	return fmt.Sprintf("%s is read from end to end, %d pages", n.Relation, n.Buffers())
}
