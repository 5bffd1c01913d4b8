package report

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

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

// checkCheckpoints finds a write-ahead log that fills before a checkpoint is due.
func (c *collector) checkCheckpoints(ctx context.Context) {
	const minRequested = 20
	name := "checkpoints_15"
	if c.Server.Number >= 170000 {
		name = "checkpoints_17"
	}
	var requested, timed int64
	var since *time.Time
	c.scan(ctx, "checkpoints", name, []any{&requested, &timed, &since})
	if requested >= minRequested && requested >= timed {
		maxSize := c.setting("max_wal_size")
		c.find("checkpoints", Note, 13, "max_wal_size", facts{
			"requested": requested, "timed": timed, "all": requested + timed, "size": maxSize, "fix": max(2048, 2*maxSize.Bytes>>20),
		})
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
	sees := true
	c.scan(ctx, "whether other roles' sessions are seen", "sees_sessions", []any{&sees})
	if !sees {
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
	c.checkTransactionIDs(ctx)
}

// checkTransactionIDs warns before PostgreSQL does: it freezes by force at autovacuum_freeze_max_age and refuses writes at
// two billion.
func (c *collector) checkTransactionIDs(ctx context.Context) {
	var age int64
	c.scan(ctx, "transaction ids", "transaction_ids", []any{&age})
	limit, err := strconv.ParseInt(c.setting("autovacuum_freeze_max_age").Value, 10, 64)
	if err == nil && float64(age) >= 1.5*float64(limit) {
		c.find("transaction-ids", Critical, 95, c.Server.Database, facts{"age": age, "limit": limit})
	}
}
