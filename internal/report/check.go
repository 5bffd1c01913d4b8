package report

import (
	"context"
	"fmt"
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

type density struct {
	Density float64
	Bytes   int64
}

// checkDensity reads the indexes into which every load writes all over, if pgstattuple is installed: pg_stats allows no more
// than a guess.
func (c *collector) checkDensity(ctx context.Context) {
	if !c.hasExtension("how full indexes are", "pgstattuple", "CREATE EXTENSION pgstattuple") {
		return
	}
	for _, name := range c.writtenAllOver() {
		for _, of := range rows[density](ctx, c, "how full "+name+" is", "density", name) {
			if of.Bytes >= smallTable && of.Density <= minDensity {
				c.find("index-bloat", Warning, 38+min(0.9, float64(of.Bytes)/(1<<40)), name, facts{
					"density": of.Density / 100, "bytes": of.Bytes, "waste": int64(float64(of.Bytes) * (1 - of.Density/90)),
				})
			}
		}
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

// checkSettings checks the server's settings, first those that could lose money, and compares sizes with the machine where
// it is known.
func (c *collector) checkSettings() {
	for name, loses := range map[string]string{
		"fsync":              "a crash of the machine can destroy the whole database",
		"full_page_writes":   "a crash of the machine can leave half-written pages",
		"synchronous_commit": "a crash can lose the last commits, a load that was reported among them; the next run loads its file again",
	} {
		if s := c.setting(name); s.Value == "off" {
			c.find("unsafe-setting", Critical, 105, name, facts{"loses": loses, "source": s.Source})
		}
	}
	for _, name := range []string{"autovacuum", "track_counts"} {
		if c.setting(name).Value == "off" {
			c.find("no-autovacuum", Warning, 50, name, nil)
		}
	}
	if c.Machine.Memory > 0 {
		c.checkMemory(c.Machine.Memory)
	}
}

// checkMemory accepts the default shared_buffers for a small database.
func (c *collector) checkMemory(memory int64) {
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

type checkpoints struct{ Requested, Timed int64 }

// checkCheckpoints finds a write-ahead log that fills before a checkpoint is due.
func (c *collector) checkCheckpoints(ctx context.Context) {
	const minRequested = 20
	name := "checkpoints_15"
	if c.Server.Number >= 170000 {
		name = "checkpoints_17"
	}
	for _, n := range rows[checkpoints](ctx, c, "checkpoints", name) {
		if n.Requested >= minRequested && n.Requested >= n.Timed {
			maxSize := c.setting("max_wal_size")
			c.find("checkpoints", Note, 13, "max_wal_size", facts{
				"n": n, "all": n.Requested + n.Timed, "size": maxSize, "fix": max(2048, 2*maxSize.Bytes>>20),
			})
		}
	}
}

type session struct {
	PID                int32
	Application, State string
	Seconds            float64
}

type slot struct {
	Slot   string
	Active bool
	Bytes  int64
}

type leftover struct {
	Name  string
	Bytes int64
	Rows  float64
}

// checkServer finds sessions that stay open, slots that keep the write-ahead log, and tables that were left.
func (c *collector) checkServer(ctx context.Context) {
	if !c.server.SeesSessions {
		c.skip("open transactions of other roles", "the role may not see them; GRANT pg_monitor shows them to it")
	}
	for _, s := range rows[session](ctx, c, "open transactions", "sessions", c.config.OpenFor.Seconds()) {
		c.find("open-transaction", Warning, 35, fmt.Sprintf("process %d", s.PID), facts{"s": s})
	}
	const maxKept = 1 << 30
	for _, s := range rows[slot](ctx, c, "replication slots", "slots") {
		if s.Bytes > maxKept && !s.Active {
			c.find("slot-keeps-log", Warning, 65+float64(s.Bytes)/(1<<40), s.Slot, facts{"bytes": s.Bytes})
		}
	}
	for _, l := range rows[leftover](ctx, c, "leftover tables", "leftovers") {
		c.find("leftover-table", Note, 11+min(9, float64(l.Bytes)/(1<<30)), l.Name, facts{"l": l})
	}
	// PostgreSQL freezes by force at autovacuum_freeze_max_age, and refuses writes at two billion.
	age := c.server.XIDAge
	limit, err := strconv.ParseInt(c.setting("autovacuum_freeze_max_age").Value, 10, 64)
	if err == nil && float64(age) >= 1.5*float64(limit) {
		c.find("transaction-ids", Critical, 95, c.Server.Database, facts{"age": age, "limit": limit})
	}
}
