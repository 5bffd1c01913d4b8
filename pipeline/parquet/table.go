package parquet

import _ "embed" // for export.sql

//go:embed export.sql
var exportSQL string

// table is a table of the export.
type table struct {
	name    string
	columns []columnOf
	sort    []int // indexes of the columns in whose order the rows are
	by      partitioning
}

// A partitioning says what files a table has, and how its rows are read.
type partitioning int

const (
	// whole: one file.
	whole partitioning = iota
	// month: a file for each month, each read by itself ($1 its first day, $2 the next
	// month's).
	month
	// months: a file for each month, several of them read at once ($1 their first
	// days). The first column says which month a row is of, and is not in the file.
	months
)

type columnOf struct {
	name string
	kind kind
}

// tables are what is exported: transactions, and every rollup. A column that says when a
// row was written is left out, so that the same data gives the same bytes.
func tables() []table {
	return []table{
		{
			name: "transactions", by: month, sort: []int{2, 4, 0},
			columns: []columnOf{
				{"id", bigint}, {"transaction_id", text}, {"user_id", integer}, {"amount", amount},
				{"transaction_date", date}, {"file_id", bigint}, {"line", bigint},
			},
		},
		{
			name: "user_months", by: months, sort: []int{0},
			columns: []columnOf{{"user_id", integer}, {"total_transactions", bigint}, {"total_amount", total}},
		},
		{
			name: "daily_totals", by: months, sort: []int{0},
			columns: []columnOf{
				{"transaction_date", date}, {"total_transactions", bigint}, {"total_amount", total}, {"version", bigint}, {"file_id", bigint},
			},
		},
		{
			name: "user_summary", sort: []int{0},
			columns: []columnOf{
				{"user_id", integer}, {"total_transactions", bigint}, {"total_amount", total}, {"version", bigint}, {"file_id", bigint},
			},
		},
	}
}

func (t table) newColumns() []*column {
	columns := make([]*column, len(t.columns))
	for i, c := range t.columns {
		columns[i] = &column{name: c.name, kind: c.kind}
	}
	return columns
}
