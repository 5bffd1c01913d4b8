package parquet

import (
	_ "embed" // for export.sql
	"slices"
	"strings"

	"github.com/opentax/tally/internal/sqlfile"
	"github.com/opentax/tally/summaries"
)

//go:embed export.sql
var exportSQL string

// table is a table of the export.
type table struct {
	name    string
	columns []columnOf
	sort    []int // indexes of the columns in whose order the rows are
	by      partitioning
	sql     string // reads its rows
}

// A partitioning is what files a table has, and how its rows are read.
type partitioning int

const (
	// whole: one file.
	whole partitioning = iota
	// month: a file for each month, each read by itself ($1 its first day, $2 the next
	// month's).
	month
	// months: a file for each month, several of them read at once ($1 their first
	// days). The first column of the query is the month of the row, and is not in the file.
	months
)

type columnOf struct {
	name string
	kind kind
}

// tables are what is exported: transactions, and every rollup. A column that says when a
// row was written is left out, so that the same data gives the same bytes.
func tables() []table {
	statements := sqlfile.Parse(exportSQL)
	list := []table{{
		name: "transactions", by: month, sort: []int{2, 4, 0}, sql: statements.Get("transactions"),
		columns: []columnOf{
			{"id", bigint}, {"transaction_id", text}, {"user_id", integer}, {"amount", amount},
			{"transaction_date", date}, {"file_id", bigint}, {"line", bigint},
		},
	}}
	for _, r := range summaries.Rollups() {
		list = append(list, rollupTable(r, statements))
	}
	return list
}

// rollupTable has a file for each month where the rollup has more than a row of it. The
// month is the folder's then, and no column of the file.
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
		t.columns = append(t.columns, columnOf{name, rollupKind(name)})
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

func (t table) newColumns() []*column {
	columns := make([]*column, len(t.columns))
	for i, c := range t.columns {
		columns[i] = &column{name: c.name, kind: c.kind}
	}
	return columns
}
