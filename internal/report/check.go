package report

import (
	"context"
	"slices"
	"strconv"
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
)

// checkUpkeep checks the work of vacuum, ANALYZE and the cache.
func (c *collector) checkUpkeep() {
	for _, t := range c.Tables {
		c.checkStatistics(t)
		c.checkRows(t)
		c.checkReads(t)
	}
	for _, i := range c.Indexes { // Tally's own may serve once a year
		needed := i.Scans > 0 || i.Constraint || i.Partition || strings.HasPrefix(i.Table, "river_") || c.isOwn(i.Name)
		if !needed && i.Bytes >= minUnusedIndex {
			c.find("unused-index", Note, 14, i.Name, facts{"index": i})
		}
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

// hasExtension adds to Skipped how an extension is installed that is not.
func (c *collector) hasExtension(what, name, install string) bool {
	installed := slices.Contains(c.server.Extensions, name)
	if !installed {
		c.skip(what, name+" is not installed: "+install)
	}
	return installed
}

// checkMemory compares sizes with the machine where it is known. It accepts the default shared_buffers for a small database.
func (c *collector) checkMemory() {
	memory := c.Machine.Memory
	if memory == 0 {
		return
	}
	const name = "shared_buffers"
	buffers := c.setting(name).Bytes
	if quarter := memory / 4; buffers > 0 && buffers <= c.Server.Bytes/4 && buffers < quarter/4 {
		c.find("small-buffers", Note, 16, name, facts{"buffers": buffers, "memory": memory, "database": c.Server.Bytes, "fix": quarter >> 20})
	}
	if cache := c.setting("effective_cache_size").Bytes; cache > memory {
		c.find("planner-settings", Note, 6, "effective_cache_size", facts{"cache": cache, "memory": memory, "fix": memory * 3 / 4 >> 20})
	}
	each := c.setting("work_mem").Bytes
	connections, _ := strconv.ParseInt(c.setting("max_connections").Value, 10, 64)
	if all := each * connections; all > memory {
		c.find("memory-promised", Warning, 22, "work_mem", facts{"each": each, "connections": connections, "all": all, "memory": memory})
	}
}

// checkServer finds what statements by themselves find, each with the words of its kind.
func (c *collector) checkServer(ctx context.Context) {
	c.findRows(ctx, "failed-run", Warning, "failed runs", c.sql.Get("failed-run"))
	c.findRows(ctx, "unsafe-setting", Critical, "unsafe settings", c.sql.Get("unsafe-setting"))
	c.findRows(ctx, "no-autovacuum", Warning, "settings of autovacuum", c.sql.Get("no-autovacuum"))
	checkpoints := c.sql.Get("checkpoints", "view", "pg_stat_bgwriter", "requested", "checkpoints_req", "timed", "checkpoints_timed")
	if c.Server.Number >= 170000 {
		checkpoints = c.sql.Get("checkpoints", "view", "pg_stat_checkpointer", "requested", "num_requested", "timed", "num_timed")
	}
	c.findRows(ctx, "checkpoints", Note, "checkpoints", checkpoints)
	if !c.server.SeesSessions {
		c.skip("open transactions of other roles", "the role may not see them; GRANT pg_monitor shows them to it")
	}
	c.findRows(ctx, "open-transaction", Warning, "open transactions", c.sql.Get("open-transaction"), c.config.OpenFor.Seconds())
	c.findRows(ctx, "slot-keeps-log", Warning, "replication slots", c.sql.Get("slot-keeps-log"))
	c.findRows(ctx, "leftover-table", Note, "leftover tables", c.sql.Get("leftover-table"))
	c.findRows(ctx, "transaction-ids", Critical, "transaction ids", c.sql.Get("transaction-ids"))
	if c.hasExtension("how full indexes are", "pgstattuple", "CREATE EXTENSION pgstattuple") {
		for _, index := range c.writtenAllOver() { // pg_stats allows no more than a guess
			c.findRows(ctx, "index-bloat", Warning, "how full "+index+" is", c.sql.Get("index-bloat"), index)
		}
	}
}
