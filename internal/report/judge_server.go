package report

import (
	"context"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"
)

type session struct {
	PID         int32   `db:"pid"`
	Application string  `db:"application"`
	State       string  `db:"state"`
	Seconds     float64 `db:"seconds"`
}

type slot struct {
	Slot   string `db:"slot"`
	Active bool   `db:"active"`
	Bytes  int64  `db:"bytes"`
}

type leftover struct {
	Name  string  `db:"name"`
	Bytes int64   `db:"bytes"`
	Rows  float64 `db:"rows"`
}

// judgeServer looks at what others do to the database: sessions that stay open, slots
// that keep the log, transaction ids, and tables that were left.
func (g *gathering) judgeServer(ctx context.Context) {
	sees := true
	g.try(ctx, "whether other roles' sessions are seen", func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, g.sql.Get("sees_sessions")).Scan(&sees)
	})
	if !sees {
		g.skip("open transactions of other roles", "the role may not see them; GRANT pg_monitor shows them to it")
	}
	for _, s := range rows[session](ctx, g, "open transactions", "sessions", g.config.OpenFor.Seconds()) {
		g.find(Finding{
			ID: "open-transaction", Severity: Warning, Subject: fmt.Sprintf("process %d", s.PID), Weight: 35,
			Title:    fmt.Sprintf("A transaction of %q has been open for %s", s.Application, took(seconds(s.Seconds))),
			Cost:     "no dead row that is younger can be taken away, anywhere in the database",
			Evidence: []string{fmt.Sprintf("process %d is %s", s.PID, s.State)},
			Fix:      fmt.Sprintf("SELECT pg_terminate_backend(%d);", s.PID),
		})
	}
	const keeps = 1 << 30
	for _, s := range rows[slot](ctx, g, "replication slots", "slots") {
		if s.Bytes > keeps && !s.Active {
			g.find(Finding{
				ID: "slot-keeps-log", Severity: Warning, Subject: s.Slot, Weight: 65 + float64(s.Bytes)/(1<<40),
				Title: fmt.Sprintf("The replication slot %s keeps %s of the log", s.Slot, size(s.Bytes)),
				Cost:  "the disk fills until the server stops", Evidence: []string{"nobody reads from it (active is false)"},
				Fix: fmt.Sprintf("SELECT pg_drop_replication_slot('%s'); -- if its replica is gone for good", s.Slot),
			})
		}
	}
	for _, l := range rows[leftover](ctx, g, "leftover tables", "leftovers") {
		g.find(Finding{
			ID: "leftover-table", Severity: Note, Subject: l.Name, Weight: 11 + min(9, float64(l.Bytes)/(1<<30)),
			Title:    l.Name + " is no partition of transactions",
			Cost:     fmt.Sprintf("%s of disk; if it was detached, its rows are missing from transactions", size(l.Bytes)),
			Evidence: []string{fmt.Sprintf("some %s rows", count(int64(max(l.Rows, 0))))},
			Fix:      "-- Attach it again (see the missing partition, if there is one), or, if it is not needed:\nDROP TABLE " + l.Name + ";",
		})
	}
	g.judgeTransactionIDs(ctx)
}

// judgeTransactionIDs comes before PostgreSQL does: it freezes by force at
// autovacuum_freeze_max_age and refuses writes at two billion.
func (g *gathering) judgeTransactionIDs(ctx context.Context) {
	var age int64
	g.try(ctx, "transaction ids", func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, g.sql.Get("transaction_ids")).Scan(&age)
	})
	limit, err := strconv.ParseInt(g.setting("autovacuum_freeze_max_age").Value, 10, 64)
	if err != nil || float64(age) < 1.5*float64(limit) {
		return
	}
	g.find(Finding{
		ID: "transaction-ids", Severity: Critical, Subject: g.Server.Database, Weight: 95,
		Title:    fmt.Sprintf("The oldest rows were frozen %s transactions ago", count(age)),
		Cost:     "at some two billion PostgreSQL refuses all writes",
		Evidence: []string{fmt.Sprintf("autovacuum_freeze_max_age is %s: autovacuum is off, or something keeps it from its work", count(limit))},
		Fix:      "VACUUM (FREEZE);",
	})
}
