package report

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/explain"
)

// explainQueries plans every statement of Tally's, and executes those that read and
// are meant to be short.
func (g *gathering) explainQueries(ctx context.Context) {
	g.Queries = []Query{}
	var sample explain.Sample
	taken := false
	g.try(ctx, "a sample of the data", func(tx pgx.Tx) (err error) {
		sample, err = explain.TakeSample(ctx, tx)
		taken = err == nil
		return err
	})
	if !taken || g.config.Queries == nil {
		return
	}
	for _, q := range g.config.Queries(sample) {
		said := Query{Name: q.Name, Purpose: q.Purpose, SQL: q.Text(), Expected: expected(q), Denied: []string{}}
		skips := len(g.Skipped)
		g.try(ctx, "the plan of "+q.Name, func(tx pgx.Tx) error {
			plan, err := explain.Explain(ctx, tx, q, !q.Expect.WholeTable)
			if err != nil {
				return err
			}
			said.Executed, said.Planning, said.Execution = plan.Analyzed, plan.Planning, plan.Execution
			said.Buffers, said.Plan, said.Text = plan.Buffers(), plan.JSON, plan.Text()
			if denied := plan.Judge(q); denied != nil && !g.cheap(said) {
				said.Denied = denied
			}
			return nil
		})
		if len(g.Skipped) > skips {
			said.Skipped = g.Skipped[skips].Why
		}
		g.Queries = append(g.Queries, said)
	}
}

// cheap is a query on so little data that any plan would do, and that the planner takes
// another one for is right.
func (g *gathering) cheap(q Query) bool {
	return g.Empty || q.Executed && q.Buffers*pageSize < smallTable && q.Execution < slowMilliseconds
}

const (
	pageSize         = 8192
	slowMilliseconds = 100
)

// expected says what a plan is held against.
func expected(q explain.Query) []string {
	says := []string{}
	for _, index := range q.Expect.Indexes {
		says = append(says, "uses "+index)
	}
	if n := q.Expect.MostPartitions; n > 0 {
		says = append(says, fmt.Sprintf("scans at most %d partitions", n))
	}
	if n := q.Expect.MostBuffers; n > 0 {
		says = append(says, fmt.Sprintf("touches at most %d pages", n))
	}
	return says
}

// judgeQueries makes a finding of each plan that denies what it was held against. Where
// the reason is a missing index, that is found already and stands before.
func (g *gathering) judgeQueries() {
	for _, q := range g.Queries {
		if len(q.Denied) == 0 {
			g.judgeTime(q)
			continue
		}
		cost := "it is planned otherwise than it is meant to be"
		if q.Executed {
			cost = fmt.Sprintf("%s pages and %s each time", count(q.Buffers), took(seconds((q.Planning+q.Execution)/1000)))
		}
		g.find(Finding{
			ID: "plan", Severity: Warning, Subject: q.Name, Weight: 28 + min(10, q.Execution/1000),
			Title: "The plan of " + q.Name + " is not the one it is meant to be", Cost: cost + "; " + q.Purpose,
			Evidence: q.Denied, Fix: "-- Statistics first; then the index that it names, if it is missing above.\nANALYZE;",
		})
	}
}

// judgeTime finds a query that is meant to be short and is not, though its plan uses
// what it is meant to use: an index read from end to end is used as well. Time alone is
// no fault of the query's: it may have waited for its machine.
func (g *gathering) judgeTime(q Query) {
	if !q.Executed || q.Execution < slowMilliseconds || q.Buffers*pageSize < smallTable {
		return
	}
	g.find(Finding{
		ID: "slow-query", Severity: Warning, Subject: q.Name, Weight: 27 + min(10, q.Execution/1000),
		Title:    fmt.Sprintf("%s took %s", q.Name, took(seconds(q.Execution/1000))),
		Cost:     fmt.Sprintf("%s pages (%s) each time; %s", count(q.Buffers), size(q.Buffers*pageSize), q.Purpose),
		Evidence: []string{fmt.Sprintf("EXPLAIN ANALYZE on live data: %s pages; a query that is meant to be short stays below %d ms or %s", count(q.Buffers), slowMilliseconds, size(smallTable))},
		Fix:      "-- Its plan, among the plans of this report, shows which node reads the pages.",
	})
}

// readStatements takes the slowest from pg_stat_statements, where it is installed.
func (g *gathering) readStatements(ctx context.Context) {
	g.Statements = []Statement{}
	installed := false
	g.try(ctx, "slow statements", func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, g.sql.Get("has_extension"), "pg_stat_statements").Scan(&installed)
	})
	if !installed {
		g.skip("slow statements", "pg_stat_statements is not installed: shared_preload_libraries = 'pg_stat_statements', a restart, and CREATE EXTENSION pg_stat_statements")
		return
	}
	g.Statements = rows[Statement](ctx, g, "slow statements", "statements")
}

// ranked are the findings, the dearest first.
func (g *gathering) ranked() []Finding {
	order := []Severity{Critical, Warning, Note}
	all := append([]Finding{}, g.found...)
	slices.SortStableFunc(all, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(slices.Index(order, a.Severity), slices.Index(order, b.Severity)),
			cmp.Compare(b.Weight, a.Weight),
			strings.Compare(a.ID+a.Subject, b.ID+b.Subject),
		)
	})
	return all
}
