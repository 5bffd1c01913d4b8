package parquet

import (
	"cmp"
	_ "embed" // for export.sql
	"slices"
	"strings"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/explain"
	"github.com/opentax/tally/internal/sqlfile"
	"github.com/opentax/tally/summaries"
)

//go:embed export.sql
var exportSQL string

type table struct {
	name    string
	columns []column // without values
	sort    []int    // the columns that the rows are sorted by
	by      partitioning
	sql     string // reads the rows
}

// A partitioning decides which files a table has and how its rows are read.
type partitioning int

const (
	// whole: one file.
	whole partitioning = iota
	// month: a file for each month, read by one statement each ($1 its first day, $2 the next
	// month's).
	month
	// months: a file for each month, several of them read by one statement ($1 their first
	// days). The statement's first column is the row's month; the file does not have it.
	months
)

// tables are transactions and every rollup. Columns with the time of a write are left out, so
// that the same data gives the same bytes.
func tables() []table {
	statements := sqlfile.Parse(exportSQL)
	list := []table{{
		name: "transactions", by: month, sort: []int{2, 4, 0}, sql: statements.Get("transactions"),
		columns: []column{
			{name: "id", kind: bigint}, {name: "transaction_id", kind: text}, {name: "user_id", kind: integer}, {name: "amount", kind: amount},
			{name: "transaction_date", kind: date}, {name: "file_id", kind: bigint}, {name: "line", kind: bigint},
		},
	}}
	for _, r := range summaries.Rollups() {
		list = append(list, rollupTable(r, statements))
	}
	return list
}

// rollupTable has a file for each month where the rollup has several rows a month. The month
// is in the folder's name then, and not in the file.
func rollupTable(r summaries.Rollup, statements sqlfile.Statements) table {
	t := table{name: r.Table}
	keys, columns, query := r.KeyColumns(), r.Columns(), "rollup"
	switch {
	case slices.Contains(r.Keys, summaries.ByDay):
		t.by, query = months, "rollup_by_day"
	case slices.Contains(r.Keys, summaries.ByMonth) && len(r.Keys) > 1:
		t.by, query = months, "rollup_by_month"
		columns = slices.DeleteFunc(columns, func(name string) bool { return name == summaries.ByMonth.Column() })
	}
	for i, name := range columns {
		t.columns = append(t.columns, column{name: name, kind: rollupKind(name)})
		if slices.Contains(keys, name) {
			t.sort = append(t.sort, i)
		}
	}
	t.sql = statements.Get(query, "rollup", r.Table, "keys", strings.Join(keys, ", "), "columns", strings.Join(columns, ", "))
	return t
}

func rollupKind(column string) kind {
	switch column {
	case summaries.ByUser.Column():
		return integer
	case summaries.ByDay.Column(), summaries.ByMonth.Column():
		return date
	case "total_amount":
		return total
	default:
		return bigint
	}
}

func (t table) args(list []civil.Month) []any {
	switch t.by {
	case month:
		return []any{list[0].First(), (list[0] + 1).First()}
	case months:
		firsts := make([]civil.Date, len(list))
		for i, m := range list {
			firsts[i] = m.First()
		}
		return []any{firsts}
	default:
		return nil
	}
}

// Queries are the statements of an export, with arguments from s. The lock and the snapshot
// are left out: calls of one function have no plan.
func Queries(s explain.Sample) []explain.Query {
	statements := sqlfile.Parse(exportSQL)
	var sampled []civil.Month
	for _, d := range s.Dates {
		sampled = append(sampled, d.Month())
	}
	slices.Sort(sampled)
	sampled = slices.Compact(sampled)
	list := []explain.Query{{Name: "state", SQL: statements.Get("state")}, {Name: "months", SQL: statements.Get("months")}}
	for _, t := range tables() {
		q, read := explain.Query{Name: t.name + "/export", SQL: t.sql}, sampled
		if t.by == month {
			q.Name, q.Purpose, q.Expect.MaxPartitions, read = t.name, "each month that is exported", 1, []civil.Month{s.From.Month()}
		}
		q.Args = t.args(read)
		list = append(list, q)
	}
	for i := range list {
		q := &list[i]
		q.Name, q.Purpose, q.Expect.WholeTable = "parquet/"+q.Name, cmp.Or(q.Purpose, "each export"), true
		q.Before = []string{"SET LOCAL work_mem = '" + sortMemory + "'", "SET LOCAL jit = off"}
	}
	return list
}
