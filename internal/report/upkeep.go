package report

import (
	"context"
	"strings"
)

const (
	smallTable     = 8 << 20 // bytes that PostgreSQL reads in a moment, whatever their state
	minStaleShare  = 0.2     // of rows changed since ANALYZE: twice autovacuum's default
	minDeadShare   = 0.3     // of rows: autovacuum's default is a fifth
	minBloatShare  = 0.4     // of a table, its fillfactor taken off
	minCacheReads  = 100_000 // pages; a hit rate of fewer is chance
	minHitShare    = 0.9     // of the pages of a table that look-ups read
	minHotShare    = 0.5     // of user_summary's updates, while its fillfactor does its work
	minUpdates     = 10_000  // before the share of HOT ones is more than chance
	maxUnanalyzed  = 1_000_000
	minUnusedIndex = 1 << 20
	minWholeScans  = 100
	// minDensity is the fill in per cent below which a new index would have half the size: PostgreSQL fills pages to 90 per
	// cent, and splits in random order leave some 70.
	minDensity = 45
)

// checkUpkeep checks the work of vacuum, ANALYZE and the cache.
func (c *collector) checkUpkeep() {
	for _, t := range c.Tables {
		c.checkStatistics(t)
		c.checkRows(t)
		c.checkReads(t)
	}
	for _, i := range c.Indexes {
		c.checkUse(i)
	}
}

// checkStatistics finds tables whose plans rest on no statistics, or on old ones.
func (c *collector) checkStatistics(t Table) {
	rows := max(t.Rows, float64(t.Live))
	switch {
	case t.Partitioned: // autovacuum never analyzes it
		if t.Name == "transactions" && !t.HasStats && c.growthOf(t.Name).Rows > maxUnanalyzed {
			c.find("stale-statistics, partitioned", Note, 20, t.Name, nil)
		}
	case t.Bytes < smallTable:
	case t.Analyzed == nil && !t.HasStats:
		c.find("stale-statistics, none", Warning, 40+pagesWeight(t), t.Name, facts{"t": t})
	case float64(t.Modified) > minStaleShare*rows:
		c.find("stale-statistics", Warning, 30+pagesWeight(t), t.Name, facts{
			"t": t, "rows": rows, "share": min(1, float64(t.Modified)/max(rows, 1)),
		})
	}
}

// checkRows finds dead rows, bloat, and summaries that move to another page at an update.
func (c *collector) checkRows(t Table) {
	dead, all := float64(t.Dead), float64(t.Dead+t.Live)
	if t.Bytes >= smallTable && dead > minDeadShare*all {
		c.find("dead-rows", Warning, 39+pagesWeight(t)/10, t.Name, facts{
			"t": t, "share": dead / all, "bytes": int64(float64(t.Bytes) * dead / all),
		})
	}
	if t.Bytes >= smallTable && float64(t.Bloat) > minBloatShare*float64(t.Bytes) {
		c.find("bloat", Warning, 39+pagesWeight(t)/10, t.Name, facts{"t": t})
	}
	hot := float64(t.HotUpdates) / float64(t.Updates)
	if t.Name == "user_summary" && t.Updates > minUpdates && hot < minHotShare {
		c.find("cold-updates", Note, 12, t.Name, facts{"t": t, "share": hot})
	}
}

// checkReads finds tables that do not fit the cache, and large ones that are read from end to end again and again: of Tally
// itself only verify and rebuild do so.
func (c *collector) checkReads(t Table) {
	hit, read := t.HeapHit+t.IndexHit, t.HeapRead+t.IndexRead
	if all := float64(hit + read); all >= minCacheReads && float64(hit) < minHitShare*all {
		c.find("cold-cache", Note, 10+pagesWeight(t), t.Name, facts{
			"share": float64(read) / all, "hit": hit, "read": read, "buffers": c.setting("shared_buffers").Value, "bytes": t.Bytes + t.IndexBytes,
		})
	}
	if t.Bytes >= smallTable && t.SeqScans > minWholeScans && float64(t.SeqRows) > minWholeScans*max(t.Rows, 1)/2 {
		c.find("whole-scans", Note, 18+pagesWeight(t), t.Name, facts{"t": t})
	}
}

// checkUse finds indexes that are never read and that no migration makes: Tally's own may serve once a year.
func (c *collector) checkUse(i Index) {
	needed := i.Scans > 0 || i.Constraint || i.Partition || strings.HasPrefix(i.Table, "river_") || c.isOwn(i.Name)
	if !needed && i.Bytes >= minUnusedIndex {
		c.find("unused-index", Note, 14, i.Name, facts{"index": i})
	}
}

// checkDensity reads the indexes into which every load writes all over, if pgstattuple is installed: pg_stats allows no more
// than a guess.
func (c *collector) checkDensity(ctx context.Context) {
	if !c.hasExtension(ctx, "how full indexes are", "pgstattuple", "CREATE EXTENSION pgstattuple") {
		return
	}
	for _, name := range c.writtenAllOver() {
		var density float64
		var bytes int64
		c.scan(ctx, "how full "+name+" is", "density", []any{&density, &bytes}, name)
		if bytes >= smallTable && density <= minDensity {
			c.find("index-bloat", Warning, 38+min(0.9, float64(bytes)/(1<<40)), name, facts{
				"density": density / 100, "bytes": bytes, "waste": int64(float64(bytes) * (1 - density/90)),
			})
		}
	}
}

// hasExtension adds to Skipped how an extension is installed that is not.
func (c *collector) hasExtension(ctx context.Context, what, name, install string) (installed bool) {
	c.scan(ctx, what, "has_extension", []any{&installed}, name)
	if !installed {
		c.skip(what, name+" is not installed: "+install)
	}
	return installed
}
