package report

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
)

// schemaText has every index that migrations make, a line each, but for the primary keys of rollups: table, index and
// definition, separated by tabs. A test compares it with a migrated database.
//
//go:embed schema.txt
var schemaText string

// ownIndex is an index that migrations make.
type ownIndex struct{ table, name, definition string }

func (c *collector) ownIndexes() (all []ownIndex) {
	for _, r := range c.config.Rollups {
		name := r.Table + "_pkey"
		definition := fmt.Sprintf("CREATE UNIQUE INDEX %s ON public.%s USING btree (%s)", name, r.Table, strings.Join(r.Keys, ", "))
		all = append(all, ownIndex{r.Table, name, definition})
	}
	for line := range strings.Lines(schemaText) {
		parts := strings.SplitN(strings.TrimSpace(line), "\t", 3)
		all = append(all, ownIndex{parts[0], parts[1], parts[2]})
	}
	return all
}

func (c *collector) isOwn(name string) bool {
	return slices.ContainsFunc(c.ownIndexes(), func(own ownIndex) bool { return own.name == name })
}

// checkSchema compares indexes and partitions with those that migrations make.
func (c *collector) checkSchema() {
	for _, name := range c.config.Pending {
		c.find("pending-migration", Warning, 90, name, nil)
	}
	if len(c.Indexes) == 0 {
		return // they could not be read, and Skipped has the reason
	}
	for _, own := range c.ownIndexes() {
		if !slices.ContainsFunc(c.Indexes, func(i Index) bool { return i.Name == own.name }) {
			c.missingIndex(own)
		}
	}
	for _, i := range c.Indexes {
		broken := !i.Valid && (!i.Partition || c.isOwn(i.Name))
		c.findIf(broken, "invalid-index", Warning, 70, i.Name, facts{"table": i.Table})
	}
	c.checkPartitions()
}

// missingIndex is critical for a unique index, without which duplicate keys are accepted.
func (c *collector) missingIndex(own ownIndex) {
	t := c.table(own.table)
	kind, severity := "missing-index", Warning
	unique := strings.HasPrefix(own.definition, "CREATE UNIQUE")
	if unique {
		severity = Critical
	}
	if strings.HasSuffix(own.name, "_pkey") {
		kind = "missing-index, primary key"
	}
	t.Name = own.table // also where its table was not seen
	c.find(kind, severity, 80+pagesWeight(t), own.name, facts{
		"table": t, "unique": unique, "definition": own.definition, "columns": own.definition[strings.Index(own.definition, "("):],
		"concurrently": strings.Replace(own.definition, "INDEX ", "INDEX CONCURRENTLY ", 1),
	})
}

// checkPartitions looks for months whose rows are counted but not there, and for mistyped years.
func (c *collector) checkPartitions() {
	const maxEstimateError = 0.5
	for _, p := range c.Partitions {
		counted := float64(p.Counted)
		switch {
		case p.Name == "" && p.Counted > 0:
			month := "transactions, " + p.Month.Format("2006-01")
			c.find("missing-partition", Critical, 100+counted/1e6, month, facts{"p": p, "next": p.Month.AddDate(0, 1, 0)})
		case p.Name != "" && p.Held >= 0 && p.Held < maxEstimateError*counted: // emptied, or lost and made anew by a later load
			c.find("short-partition", Critical, 99+counted/1e6, p.Name, facts{"p": p})
		}
		c.findIf(p.Counted > 0 && p.Apart, "lone-month", Note, 5, p.Name, facts{"p": p})
	}
	c.checkSparse()
}

const (
	minPartitionRows = 100 // fewer do not fill a page
	maxSparse        = 36  // partitions with fewer rows: as many as a file may add by default
)

// checkSparse looks for partitions that hold next to nothing: each makes planning slower.
func (c *collector) checkSparse() {
	sparse := slices.DeleteFunc(slices.Clone(c.Partitions), func(p Partition) bool { return p.Name == "" || p.Counted >= minPartitionRows })
	if len(sparse) <= maxSparse {
		return
	}
	empty := int64(0)
	for _, p := range sparse {
		if p.Counted == 0 {
			empty++
		}
	}
	c.find("sparse-partitions", Warning, 25, "transactions", facts{
		"sparse": int64(len(sparse)), "all": int64(len(c.Partitions)), "empty": empty, "limit": minPartitionRows, "first": sparse[0], "last": sparse[len(sparse)-1],
	})
}

// pagesWeight sorts large tables before small ones; it is below 10.
func pagesWeight(t Table) float64 { return min(9.9, float64(t.Bytes)/(1<<30)) }
