package report

import (
	_ "embed" // for schema.txt
	"fmt"
	"strings"
)

// schemaText is every index that migrations make, a line each, but for the primary keys
// of rollups: table, index and definition, separated by tabs. A test compares it with a
// migrated database.
//
//go:embed schema.txt
var schemaText string

// wantedIndex is an index that migrations make.
type wantedIndex struct{ table, name, definition string }

func (g *gathering) wantedIndexes() (all []wantedIndex) {
	for _, r := range g.config.Rollups {
		all = append(all, r.primaryKey())
	}
	for line := range strings.Lines(schemaText) {
		parts := strings.SplitN(strings.TrimSpace(line), "\t", 3)
		all = append(all, wantedIndex{parts[0], parts[1], parts[2]})
	}
	return all
}

// judgeSchema holds indexes and partitions against what migrations make.
func (g *gathering) judgeSchema() {
	for _, name := range g.config.Pending {
		g.find(Finding{
			ID: "pending-migration", Severity: Warning, Subject: name, Weight: 90, Title: "Migration " + name + " has not been applied",
			Cost:     "this version of Tally may look for what is not there yet",
			Evidence: []string{"tally migrate --status lists it as pending"}, Fix: "-- on a shell: tally migrate",
		})
	}
	if len(g.Indexes) == 0 {
		return // they could not be read, and that is said
	}
	there := map[string]Index{}
	for _, i := range g.Indexes {
		there[i.Name] = i
	}
	for _, want := range g.wantedIndexes() {
		have, found := there[want.name]
		switch {
		case !found:
			g.missingIndex(want)
		case !have.Valid:
			g.invalidIndex(want.table, want.name)
		}
	}
	for _, i := range g.Indexes {
		if !i.Valid && !i.Partition && !g.wanted(i.Name) {
			g.invalidIndex(i.Table, i.Name)
		}
	}
	g.judgePartitions()
}

func (g *gathering) wanted(name string) bool {
	for _, w := range g.wantedIndexes() {
		if w.name == name {
			return true
		}
	}
	return false
}

// missingIndex costs each look-up a reading of the whole table; a unique one lets
// through what it is there to refuse.
func (g *gathering) missingIndex(w wantedIndex) {
	t := g.table(w.table)
	f := Finding{
		ID: "missing-index", Severity: Warning, Subject: w.name, Weight: 80 + pagesWeight(t),
		Title:    fmt.Sprintf("The index %s of %s is not there", w.name, w.table),
		Cost:     fmt.Sprintf("whoever looks by it reads all of %s, %s each time", w.table, size(t.Bytes)),
		Evidence: []string{"migrations make it: " + w.definition, fmt.Sprintf("pg_index has no %s; %s has %s rows", w.name, w.table, count(int64(max(t.Rows, 0))))},
		Fix:      concurrently(w) + ";",
	}
	if strings.HasPrefix(w.definition, "CREATE UNIQUE") {
		f.Severity = Critical
		f.Cost = "nothing refuses a second row of the same key any more; " + f.Cost
		if strings.HasSuffix(w.name, "_pkey") {
			columns := w.definition[strings.Index(w.definition, "("):]
			f.Fix = fmt.Sprintf("-- It locks the table while it is built; it fails where a key is there twice, which tally verify shows.\nALTER TABLE %s ADD CONSTRAINT %s PRIMARY KEY %s;", w.table, w.name, columns)
		}
	}
	g.find(f)
}

// concurrently is the definition in the form that locks nobody out; partitioned
// tables, whose definitions say ONLY, have no such form.
func concurrently(w wantedIndex) string {
	if strings.Contains(w.definition, " ON ONLY ") {
		return strings.Replace(w.definition, " ON ONLY ", " ON ", 1)
	}
	return strings.Replace(w.definition, "INDEX ", "INDEX CONCURRENTLY ", 1)
}

func (g *gathering) invalidIndex(table, name string) {
	g.find(Finding{
		ID: "invalid-index", Severity: Warning, Subject: name, Weight: 70,
		Title:    fmt.Sprintf("The index %s of %s is not valid", name, table),
		Cost:     "writes pay for it and no reader may use it",
		Evidence: []string{"pg_index.indisvalid is false: it was made CONCURRENTLY and that broke off, or a partition lacks its own"},
		Fix:      "REINDEX INDEX CONCURRENTLY " + name + ";",
	})
}

// judgePartitions looks for months whose rows are counted and not there, and for
// tables that were partitions.
func (g *gathering) judgePartitions() {
	for _, p := range g.Partitions {
		if p.Name == "" && p.Counted > 0 {
			month := p.Month.Format("2006-01")
			g.find(Finding{
				ID: "missing-partition", Severity: Critical, Subject: "transactions, " + month, Weight: 100 + float64(p.Counted)/1e6,
				Title: fmt.Sprintf("The transactions of %s are not there, and are still counted", month),
				Cost:  fmt.Sprintf("%s transactions of %s in all are missing from transactions; summaries, which count them, no longer agree with it", count(p.Counted), p.Amount),
				Evidence: []string{
					fmt.Sprintf("daily_totals counts %s transactions in %s; transactions has no partition for that month", count(p.Counted), month),
					"it was detached or dropped past Tally",
				},
				Fix: fmt.Sprintf("-- Where the partition was detached and its table is still there:\nALTER TABLE transactions ATTACH PARTITION transactions_%s FOR VALUES FROM ('%s') TO ('%s');\n-- Else restore it from a backup. tally verify tells whether all is right again.",
					p.Month.Format("2006_01"), p.Month.Format("2006-01-02"), p.Month.AddDate(0, 1, 0).Format("2006-01-02")),
			})
		}
	}
	for _, p := range g.Partitions {
		g.judgeShortMonth(p)
	}
	g.judgeLoneMonths()
}

// judgeShortMonth finds a partition that was emptied, or that was lost and that a later
// load made anew: it is there, and most of what is counted in its month is not.
func (g *gathering) judgeShortMonth(p Partition) {
	const most = 0.5 // of what is counted; an estimate of rows is not as far off
	if p.Name == "" || p.Held < 0 || p.Held >= most*float64(p.Counted) {
		return
	}
	g.find(Finding{
		ID: "short-partition", Severity: Critical, Subject: p.Name, Weight: 99 + float64(p.Counted)/1e6,
		Title: fmt.Sprintf("%s holds some %s transactions, and %s are counted in it", p.Name, count(int64(p.Held)), count(p.Counted)),
		Cost:  "most of a month's transactions seem to be missing; summaries, which count them, no longer agree with what is there",
		Evidence: []string{
			fmt.Sprintf("daily_totals counts %s transactions of %s in all", count(p.Counted), p.Amount),
			fmt.Sprintf("its pages, at the rows that ANALYZE found in each, hold some %s", count(int64(p.Held))),
		},
		Fix: "-- First of all, on a shell, to count them one by one: tally verify\n-- Then restore the month from a backup. Nothing in the database brings it back.",
	})
}

// judgeLoneMonths notes months that stand years apart from the others: a mistyped year
// that is within the window of dates.
func (g *gathering) judgeLoneMonths() {
	const apart = 36 // months
	for i, p := range g.Partitions {
		before, after := apart, apart
		if i > 0 {
			before = months(g.Partitions[i-1], p)
		}
		if i+1 < len(g.Partitions) {
			after = months(p, g.Partitions[i+1])
		}
		if len(g.Partitions) > 2 && before >= apart && after >= apart && p.Counted > 0 {
			g.find(Finding{
				ID: "lone-month", Severity: Note, Subject: p.Name, Weight: 5,
				Title: fmt.Sprintf("%s stands years apart from all other months", p.Month.Format("2006-01")),
				Cost:  "a partition more for every user's look-up; the dates may be mistyped",
				Evidence: []string{
					fmt.Sprintf("it has %s transactions", count(p.Counted)),
				},
				Fix: fmt.Sprintf("-- Look at them; a window of dates (from, to) in the source's settings rejects such rows.\nSELECT * FROM %s LIMIT 10;", p.Name),
			})
		}
	}
}

func months(a, b Partition) int {
	return (b.Month.Year()-a.Month.Year())*12 + int(b.Month.Month()-a.Month.Month())
}

// pagesWeight ranks what concerns a large table before what concerns a small one; it
// is below 10.
func pagesWeight(t Table) float64 { return min(9.9, float64(t.Bytes)/(1<<30)) }

func (g *gathering) find(f Finding) { g.found = append(g.found, f) }
