package report

import (
	"fmt"
	"strings"
)

const (
	// smallTable is what PostgreSQL reads in a moment, whatever its state.
	smallTable = 8 << 20
	// staleShare is the share of rows changed since ANALYZE past which autovacuum would
	// have come by twice (its default is a tenth).
	staleShare = 0.2
	// deadShare is where autovacuum's default (a fifth) has not come by either.
	deadShare = 0.3
	// bloatShare is how much of a table may be empty before its readers feel it; the
	// fillfactor is left out already.
	bloatShare = 0.4
	// fewReads is how many pages must have been asked for before a share says something.
	fewReads = 100_000
	// coldShare of pages found in shared_buffers is low for a table that look-ups read.
	coldShare = 0.9
	// hotShare is what user_summary's updates reach while its fillfactor does its work.
	hotShare = 0.5
	// manyRows is where a plan across months begins to matter.
	manyRows = 1_000_000
	// manyUpdates is how many updates must have been before their kind says something.
	manyUpdates = 10_000
)

// judgeUpkeep looks at what vacuum, ANALYZE and the cache have done.
func (g *gathering) judgeUpkeep() {
	for _, t := range g.Tables {
		g.judgeStatistics(t)
		g.judgeRows(t)
		g.judgeUpdates(t)
		g.judgeCache(t)
	}
	for _, i := range g.Indexes {
		g.judgeUse(i)
	}
	g.judgeBigScans()
}

// judgeStatistics finds tables whose plans rest on nothing, or on what was. Of a
// partitioned table autovacuum takes no statistics at all.
func (g *gathering) judgeStatistics(t Table) {
	if t.Partitioned {
		if t.Name == "transactions" && !t.HasStats && g.rowsBelow(t.Name) > manyRows {
			g.find(Finding{
				ID: "stale-statistics", Severity: Note, Subject: t.Name, Weight: 20,
				Title:    "transactions has no statistics of its own",
				Cost:     "only queries across months pay, and none of Tally's rests on them: their estimates of users and groups may be off a hundredfold",
				Evidence: []string{"pg_stats has no inherited row of it; autovacuum analyzes partitions and never the partitioned table"},
				Fix:      "ANALYZE transactions;",
			})
		}
		return
	}
	if t.Bytes < smallTable {
		return
	}
	switch rows := max(t.Rows, float64(t.Live)); {
	case t.Analyzed == nil && !t.HasStats:
		g.find(Finding{
			ID: "stale-statistics", Severity: Warning, Subject: t.Name, Weight: 40 + pagesWeight(t),
			Title: t.Name + " was never analyzed", Cost: fmt.Sprintf("plans of %s of data rest on guesses", size(t.Bytes)),
			Evidence: []string{fmt.Sprintf("pg_stats has nothing of it; %s rows were written", count(t.Modified))}, Fix: "ANALYZE " + t.Name + ";",
		})
	case float64(t.Modified) > staleShare*rows:
		g.find(Finding{
			ID: "stale-statistics", Severity: Warning, Subject: t.Name, Weight: 30 + pagesWeight(t),
			Title:    fmt.Sprintf("The statistics of %s are from before %s of its rows", t.Name, share(min(1, float64(t.Modified)/max(rows, 1)))),
			Cost:     "estimates of new days and users are too low, and plans chosen by them too slow",
			Evidence: []string{fmt.Sprintf("%s changes since it was analyzed, of %s rows", count(t.Modified), count(int64(rows)))},
			Fix:      "ANALYZE " + t.Name + ";",
		})
	}
}

func (g *gathering) rowsBelow(parent string) (total float64) {
	for _, t := range g.Tables {
		if t.PartitionOf == parent {
			total += max(t.Rows, float64(t.Live))
		}
	}
	return total
}

// judgeRows finds dead rows and room that rows do not need.
func (g *gathering) judgeRows(t Table) {
	if t.Bytes < smallTable {
		return
	}
	if all := float64(t.Dead + t.Live); float64(t.Dead) > deadShare*all {
		g.find(Finding{
			ID: "dead-rows", Severity: Warning, Subject: t.Name, Weight: 39 + pagesWeight(t)/10,
			Title:    fmt.Sprintf("%s of the rows of %s are dead", share(float64(t.Dead)/all), t.Name),
			Cost:     fmt.Sprintf("some %s are read for nothing, and index entries with them", size(int64(float64(t.Bytes)*float64(t.Dead)/all))),
			Evidence: []string{fmt.Sprintf("%s dead rows beside %s live ones; last vacuum: %s", count(t.Dead), count(t.Live), when(t.Vacuumed))},
			Fix:      "VACUUM (ANALYZE) " + t.Name + ";\n-- A transaction that stays open keeps dead rows from being taken away.",
		})
	}
	if float64(t.Bloat) > bloatShare*float64(t.Bytes) {
		g.find(Finding{
			ID: "bloat", Severity: Warning, Subject: t.Name, Weight: 39 + pagesWeight(t)/10,
			Title:    fmt.Sprintf("%s is some %s larger than its rows need", t.Name, size(t.Bloat)),
			Cost:     fmt.Sprintf("%s of disk and cache", size(t.Bloat)),
			Evidence: []string{fmt.Sprintf("estimated from pg_stats: %s of %s, its fillfactor taken off", size(t.Bloat), size(t.Bytes))},
			Fix:      "-- It locks the table while it is written anew; pg_repack does the same without.\nVACUUM FULL " + t.Name + ";",
		})
	}
}

// judgeUpdates looks at whether summaries still move within their pages.
func (g *gathering) judgeUpdates(t Table) {
	if t.Name == "user_summary" && t.Updates > manyUpdates && float64(t.HotUpdates) < hotShare*float64(t.Updates) {
		g.find(Finding{
			ID: "cold-updates", Severity: Note, Subject: t.Name, Weight: 12,
			Title:    fmt.Sprintf("Only %s of the updates of user_summary stayed in their page", share(float64(t.HotUpdates)/float64(t.Updates))),
			Cost:     "each of the others writes an entry of its index as well",
			Evidence: []string{fmt.Sprintf("%s of %s updates were HOT", count(t.HotUpdates), count(t.Updates))},
			Fix:      "-- An index on a column that changes makes HOT updates impossible; else more room helps:\nALTER TABLE user_summary SET (fillfactor = 50); VACUUM FULL user_summary;",
		})
	}
}

// judgeCache finds tables that look-ups read and that are not in shared_buffers.
func (g *gathering) judgeCache(t Table) {
	hit, read := t.HeapHit+t.IndexHit, t.HeapRead+t.IndexRead
	if hit+read < fewReads || float64(hit) >= coldShare*float64(hit+read) {
		return
	}
	g.find(Finding{
		ID: "cold-cache", Severity: Note, Subject: t.Name, Weight: 10 + pagesWeight(t),
		Title:    fmt.Sprintf("%s of the pages asked of %s were not in shared_buffers", share(float64(read)/float64(hit+read)), t.Name),
		Cost:     fmt.Sprintf("%s pages were read from the operating system or the disk", count(read)),
		Evidence: []string{fmt.Sprintf("%s found, %s read; shared_buffers is %s, the table with its indexes %s", count(hit), count(read), g.setting("shared_buffers").Value, size(t.Bytes+t.IndexBytes))},
		Fix:      "-- Where memory allows, in postgresql.conf, and a restart: shared_buffers = a quarter of the machine's memory",
	})
}

// judgeUse finds indexes that nobody reads, among those that no migration makes: what
// Tally's own are for may come once a year.
func (g *gathering) judgeUse(i Index) {
	if i.Scans > 0 || i.Constraint || i.Partition || g.wanted(i.Name) || strings.HasPrefix(i.Table, "river_") || i.Bytes < 1<<20 {
		return
	}
	g.find(Finding{
		ID: "unused-index", Severity: Note, Subject: i.Name, Weight: 14,
		Title:    fmt.Sprintf("The index %s of %s has never been read", i.Name, i.Table),
		Cost:     fmt.Sprintf("%s, and a write more for each row", size(i.Bytes)),
		Evidence: []string{"idx_scan is 0 since the counters began; replicas count for themselves", i.Definition},
		Fix:      "DROP INDEX CONCURRENTLY " + i.Name + ";",
	})
}

// judgeBigScans finds large tables that are read from end to end again and again. Of
// Tally, verify and rebuilding do so, once in a while.
func (g *gathering) judgeBigScans() {
	const many = 100
	for _, t := range g.Tables {
		if t.Bytes >= smallTable && t.SeqScans > many && float64(t.SeqRows) > many*max(t.Rows, 1)/2 {
			g.find(Finding{
				ID: "whole-scans", Severity: Note, Subject: t.Name, Weight: 18 + pagesWeight(t),
				Title:    fmt.Sprintf("%s was read from end to end %s times", t.Name, count(t.SeqScans)),
				Cost:     fmt.Sprintf("%s rows read; %s each time", count(t.SeqRows), size(t.Bytes)),
				Evidence: []string{fmt.Sprintf("%s scans of the whole table, %s by an index", count(t.SeqScans), count(t.IndexScans))},
				Fix:      "-- Find who asks (pg_stat_statements), and whether an index or a rollup would serve him.",
			})
		}
	}
}
