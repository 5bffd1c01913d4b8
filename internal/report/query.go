package report

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/explain"
)

const (
	pageSize         = 8192
	slowMilliseconds = 100
)

// explainQueries plans every statement of Tally's, and executes those that read and should be short.
func (c *collector) explainQueries(ctx context.Context) {
	c.Queries = []Query{}
	var queries []explain.Query
	c.try(ctx, "a sample of the data", func(tx pgx.Tx) error {
		sample, err := explain.TakeSample(ctx, tx)
		if err == nil {
			queries = c.config.Queries(sample)
		}
		return err
	})
	for _, q := range queries {
		explained := Query{Name: q.Name, Purpose: q.Purpose, SQL: q.Text(), Expected: expected(q.Expect), Denied: []string{}}
		explained.Skipped = c.try(ctx, "the plan of "+q.Name, func(tx pgx.Tx) error {
			plan, err := explain.Explain(ctx, tx, q, !q.Expect.WholeTable)
			if err != nil {
				return err
			}
			explained.Executed, explained.Planning, explained.Execution = plan.Analyzed, plan.Planning, plan.Execution
			explained.Buffers, explained.Plan, explained.Text = plan.Buffers(), plan.JSON, plan.Text()
			if !c.cheap(explained) {
				explained.Denied = append(explained.Denied, plan.Violations(q.Expect)...)
			}
			return nil
		})
		c.Queries = append(c.Queries, explained)
	}
}

// cheap reports whether a query reads so little that any plan is good, and the planner right to choose another one.
func (c *collector) cheap(q Query) bool {
	return c.Empty || q.Executed && q.Buffers*pageSize < smallTable && q.Execution < slowMilliseconds
}

func expected(e explain.Expectation) []string {
	all := []string{}
	for _, index := range e.Indexes {
		all = append(all, "uses "+index)
	}
	if e.MaxPartitions > 0 {
		all = append(all, fmt.Sprintf("scans at most %d partitions", e.MaxPartitions))
	}
	if e.MaxBuffers > 0 {
		all = append(all, fmt.Sprintf("touches at most %d pages", e.MaxBuffers))
	}
	return all
}

// checkQueries finds plans that are not as expected; a missing index that causes one weighs more. A plan that is as expected
// may still read its index from end to end. Time by itself is no finding: the query may have waited for its machine.
func (c *collector) checkQueries() {
	for _, q := range c.Queries {
		about := facts{"q": q, "seconds": (q.Planning + q.Execution) / 1000, "limit": slowMilliseconds, "small": int64(smallTable)}
		switch {
		case len(q.Denied) > 0:
			c.find("plan", Warning, 28+min(10, q.Execution/1000), q.Name, about)
			c.Findings[len(c.Findings)-1].Evidence = q.Denied
		case q.Executed && q.Execution >= slowMilliseconds && q.Buffers*pageSize >= smallTable:
			about["seconds"], about["bytes"] = q.Execution/1000, q.Buffers*pageSize
			c.find("slow-query", Warning, 27+min(10, q.Execution/1000), q.Name, about)
		}
	}
}

// listStatements reads the slowest statements of pg_stat_statements, if it is installed.
func (c *collector) listStatements(ctx context.Context) {
	c.Statements = []Statement{}
	const what = "slow statements"
	if c.hasExtension(what, "pg_stat_statements",
		"shared_preload_libraries = 'pg_stat_statements', a restart, and CREATE EXTENSION pg_stat_statements") {
		c.Statements = rows[Statement](ctx, c, what, "statements")
	}
}

// outcome compares a query's plan with its expectation.
func (q Query) outcome() cell {
	switch {
	case q.Skipped != "":
		return badge(toneNote, "not looked at")
	case len(q.Denied) > 0:
		return badge(toneBad, "denied")
	case len(q.Expected) > 0:
		return badge(toneGood, "proven")
	default:
		return cell{Text: "not checked"}
	}
}

func (q Query) time() string {
	switch {
	case q.Skipped != "":
		return "–"
	case !q.Executed:
		return "only planned"
	default:
		return milliseconds(q.Execution)
	}
}

func (q Query) pages() string {
	if q.Skipped != "" || !q.Executed {
		return "–"
	}
	return count(q.Buffers)
}

func (q Query) planning() string {
	if q.Skipped != "" || q.Planning == 0 {
		return "–"
	}
	return milliseconds(q.Planning)
}

func (q Query) fold() *fold {
	f := &fold{Summary: named(q.Name), Aside: q.outcome().Text, Open: len(q.Denied) > 0}
	if q.Skipped == "" {
		f.Aside += ", " + q.time()
		if q.Executed {
			f.Aside += ", " + plural(q.Buffers, "page", "pages")
		}
	}
	if q.Purpose != "" {
		f.Blocks = append(f.Blocks, block{Text: q.Purpose})
	}
	if len(q.Denied) > 0 {
		f.Blocks = append(f.Blocks, paragraph("Does not hold:"), block{List: q.Denied})
	}
	if len(q.Expected) > 0 {
		f.Blocks = append(f.Blocks, paragraph("Its plan was compared with:"), block{List: q.Expected})
	}
	if q.Skipped != "" {
		f.Blocks = append(f.Blocks, paragraph("Not looked at: %s", q.Skipped))
	}
	for _, c := range []code{{"Statement " + q.Name, "sql", q.SQL}, {"Plan of " + q.Name, "", q.Text}} {
		if c.Text != "" {
			f.Blocks = append(f.Blocks, block{Code: &c})
		}
	}
	return f
}
