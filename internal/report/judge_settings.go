package report

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

// unsafe are settings that may lose what was committed, by what is lost.
func unsafe() []struct{ name, value, loses string } {
	return []struct{ name, value, loses string }{
		{"fsync", "off", "a crash of the machine can destroy the whole database"},
		{"full_page_writes", "off", "a crash of the machine can leave half-written pages"},
		{"synchronous_commit", "off", "a crash can lose the last commits, a load that was reported among them; the next run loads its file again"},
	}
}

// judgeSettings looks at what the server is told, first of all at what could lose
// money. Sizes are held against the machine where it is known.
func (g *gathering) judgeSettings(ctx context.Context) {
	for _, u := range unsafe() {
		if g.setting(u.name).Value == u.value {
			g.find(Finding{
				ID: "unsafe-setting", Severity: Critical, Subject: u.name, Weight: 105, Title: u.name + " is " + u.value, Cost: u.loses,
				Evidence: []string{fmt.Sprintf("SHOW %s says %s (%s)", u.name, u.value, g.setting(u.name).Source)},
				Fix:      fmt.Sprintf("ALTER SYSTEM SET %s = on; SELECT pg_reload_conf();", u.name),
			})
		}
	}
	for _, name := range []string{"autovacuum", "track_counts"} {
		if g.setting(name).Value == "off" {
			g.find(Finding{
				ID: "no-autovacuum", Severity: Warning, Subject: name, Weight: 50, Title: name + " is off",
				Cost:     "dead rows stay, statistics age, and in the end transaction ids run out",
				Evidence: []string{"SHOW " + name + " says off"}, Fix: fmt.Sprintf("ALTER SYSTEM SET %s = on; SELECT pg_reload_conf();", name),
			})
		}
	}
	g.judgeMemory()
	g.judgePlannerCosts()
	g.judgeCheckpoints(ctx)
}

// judgeMemory compares shared_buffers with what there is and with what is in use: a
// small database is well served by the default.
func (g *gathering) judgeMemory() {
	buffers := g.setting("shared_buffers").Bytes
	if g.Machine.Memory == 0 || buffers == 0 || g.Server.Bytes < 4*buffers {
		return
	}
	if quarter := g.Machine.Memory / 4; buffers < quarter/4 {
		g.find(Finding{
			ID: "small-buffers", Severity: Note, Subject: "shared_buffers", Weight: 16,
			Title:    fmt.Sprintf("shared_buffers is %s, of %s of memory", size(buffers), size(g.Machine.Memory)),
			Cost:     "nights and look-ups fetch pages from the operating system that could be at hand",
			Evidence: []string{fmt.Sprintf("the database has %s; a quarter of the memory is the usual size", size(g.Server.Bytes))},
			Fix:      fmt.Sprintf("ALTER SYSTEM SET shared_buffers = '%dMB'; -- and a restart", quarter>>20),
		})
	}
}

// judgePlannerCosts looks at what makes short queries dear.
func (g *gathering) judgePlannerCosts() {
	if cache := g.setting("effective_cache_size").Bytes; g.Machine.Memory > 0 && cache > g.Machine.Memory {
		g.find(Finding{
			ID: "planner-settings", Severity: Note, Subject: "effective_cache_size", Weight: 6,
			Title: fmt.Sprintf("effective_cache_size is %s, more than the %s that there are", size(cache), size(g.Machine.Memory)),
			Cost:  "the planner takes pages for cached that are not", Evidence: []string{"SHOW effective_cache_size"},
			Fix: fmt.Sprintf("ALTER SYSTEM SET effective_cache_size = '%dMB'; SELECT pg_reload_conf();", g.Machine.Memory*3/4>>20),
		})
	}
	if perConnection := g.setting("work_mem").Bytes; g.Machine.Memory > 0 {
		connections, _ := strconv.ParseInt(g.setting("max_connections").Value, 10, 64)
		if perConnection*connections > g.Machine.Memory {
			g.find(Finding{
				ID: "memory-promised", Severity: Warning, Subject: "work_mem", Weight: 22,
				Title:    fmt.Sprintf("work_mem of %s for %d connections is more than the machine has", size(perConnection), connections),
				Cost:     "when all sort at once, the operating system ends a process, and PostgreSQL restarts",
				Evidence: []string{fmt.Sprintf("%s × %d = %s, of %s", size(perConnection), connections, size(perConnection*connections), size(g.Machine.Memory))},
				Fix:      "ALTER SYSTEM SET work_mem = '4MB'; SELECT pg_reload_conf();",
			})
		}
	}
}

// judgeCheckpoints finds a log that fills before its time comes.
func (g *gathering) judgeCheckpoints(ctx context.Context) {
	name := "checkpoints_15"
	if g.Server.Number >= 170000 {
		name = "checkpoints_17"
	}
	var requested, timed int64
	var since *time.Time
	g.try(ctx, "checkpoints", func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, g.sql.Get(name)).Scan(&requested, &timed, &since)
	})
	const some = 20
	if requested < some || requested < timed {
		return
	}
	g.find(Finding{
		ID: "checkpoints", Severity: Note, Subject: "max_wal_size", Weight: 13,
		Title:    fmt.Sprintf("%s of %s checkpoints came before their time", count(requested), count(requested+timed)),
		Cost:     "after each checkpoint every page that changes is written to the log whole: a load writes several times as much",
		Evidence: []string{fmt.Sprintf("%s requested, %s by the clock; max_wal_size is %s", count(requested), count(timed), g.setting("max_wal_size").Value)},
		Fix:      fmt.Sprintf("ALTER SYSTEM SET max_wal_size = '%dMB'; SELECT pg_reload_conf();", max(2048, 2*g.setting("max_wal_size").Bytes>>20)),
	})
}
