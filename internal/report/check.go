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
	maxMissShare   = 0.1     // of the pages of a table that look-ups read
	minHotShare    = 0.5     // of user_summary's updates, while its fillfactor does its work
	minUpdates     = 10_000  // before the share of HOT ones is more than chance
	maxUnanalyzed  = 1_000_000
	minUnusedIndex = 1 << 20
	minWholeScans  = 100
)

// checkUpkeep checks the work of vacuum, ANALYZE and the cache, and the use of indexes.
func (c *collector) checkUpkeep() {
	for _, t := range c.Tables {
		c.checkTable(t)
	}
	for _, i := range c.Indexes { // Tally's own may serve once a year
		needed := i.Scans > 0 || i.Constraint || i.Partition || strings.HasPrefix(i.Table, "river_") || c.isOwn(i.Name)
		c.findIf(!needed && i.Bytes >= minUnusedIndex, "unused-index", Note, 14, i.Name, facts{"index": i})
	}
}

// checkTable finds plans that rest on old statistics or on none, room that no row needs, summaries that move to another page
// at an update, tables that do not fit the cache, and large ones that are read from end to end again and again: of Tally
// itself only verify and rebuild do so.
func (c *collector) checkTable(t Table) {
	large, weight := t.Bytes >= smallTable, pagesWeight(t)
	rows, never := max(t.Rows, float64(t.Live)), t.Analyzed == nil && !t.HasStats
	unanalyzed := t.Partitioned && !t.HasStats && t.Name == "transactions" && c.growthOf(t.Name).Rows > maxUnanalyzed
	c.findIf(unanalyzed, "stale-statistics, partitioned", Note, 20, t.Name, nil) // autovacuum never does it
	c.findIf(large && never, "stale-statistics, none", Warning, 40+weight, t.Name, facts{"t": t})
	c.findIf(large && !never && float64(t.Modified) > minStaleShare*rows, "stale-statistics", Warning, 30+weight, t.Name, facts{
		"t": t, "rows": rows, "share": min(1, float64(t.Modified)/max(rows, 1)),
	})

	dead := float64(t.Dead) / float64(t.Dead+t.Live)
	c.findIf(large && dead > minDeadShare, "dead-rows", Warning, 39+weight/10, t.Name, facts{
		"t": t, "share": dead, "bytes": int64(float64(t.Bytes) * dead),
	})
	bloated := float64(t.Bloat) > minBloatShare*float64(t.Bytes)
	c.findIf(large && bloated, "bloat", Warning, 39+weight/10, t.Name, facts{"t": t})

	hot := float64(t.HotUpdates) / float64(t.Updates)
	cold := t.Name == "user_summary" && t.Updates > minUpdates && hot < minHotShare
	c.findIf(cold, "cold-updates", Note, 12, t.Name, facts{"t": t, "share": hot})

	hit, read := t.HeapHit+t.IndexHit, t.HeapRead+t.IndexRead
	missed := float64(read) / float64(hit+read)
	c.findIf(hit+read >= minCacheReads && missed > maxMissShare, "cold-cache", Note, 10+weight, t.Name, facts{
		"share": missed, "hit": hit, "read": read, "buffers": c.setting("shared_buffers").Value, "bytes": t.Bytes + t.IndexBytes,
	})
	scanned := t.SeqScans > minWholeScans && float64(t.SeqRows) > minWholeScans*max(t.Rows, 1)/2
	c.findIf(large && scanned, "whole-scans", Note, 18+weight, t.Name, facts{"t": t})
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
	buffers, quarter := c.setting("shared_buffers").Bytes, memory/4
	small := buffers > 0 && buffers <= c.Server.Bytes/4 && buffers < quarter/4
	c.findIf(small, "small-buffers", Note, 16, "shared_buffers", facts{
		"buffers": buffers, "memory": memory, "database": c.Server.Bytes, "fix": quarter >> 20,
	})
	cache := c.setting("effective_cache_size").Bytes
	c.findIf(cache > memory, "planner-settings", Note, 6, "effective_cache_size", facts{
		"cache": cache, "memory": memory, "fix": memory * 3 / 4 >> 20,
	})
	each := c.setting("work_mem").Bytes
	connections, _ := strconv.ParseInt(c.setting("max_connections").Value, 10, 64)
	c.findIf(each*connections > memory, "memory-promised", Warning, 22, "work_mem", facts{
		"each": each, "connections": connections, "all": each * connections, "memory": memory,
	})
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
