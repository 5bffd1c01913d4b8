package parquet

import (
	"slices"
	"time"

	"github.com/opentax/tally/internal/explain"
	"github.com/opentax/tally/internal/sqlfile"
)

// Queries are the statements of an export, with arguments from s. Left out are those of
// one function, which have no plan: the lock and the snapshot.
func Queries(s explain.Sample) []explain.Query {
	statements := sqlfile.Parse(exportSQL)
	var firsts []time.Time
	for _, d := range s.Dates {
		firsts = append(firsts, d.Month().First().Time())
	}
	slices.SortFunc(firsts, time.Time.Compare)
	firsts = slices.CompactFunc(firsts, time.Time.Equal)
	one := s.From.Month().First().Time()
	whole := explain.Expectation{WholeTable: true}
	list := []explain.Query{
		{Name: "state", Expect: whole},
		{Name: "months", Expect: whole},
		{Name: "transactions", Args: []any{one, one.AddDate(0, 1, 0)}, Expect: explain.Expectation{WholeTable: true, MostPartitions: 1}},
		{Name: "user_months", Args: []any{firsts}, Expect: whole},
		{Name: "daily_totals", Args: []any{firsts}, Expect: whole},
		{Name: "user_summary", Expect: whole},
	}
	for i := range list {
		q := &list[i]
		q.SQL, q.Name, q.Purpose = statements.Get(q.Name), "parquet/"+q.Name, "each export"
		q.Before = []string{"SET LOCAL work_mem = '" + sortMemory + "'", "SET LOCAL jit = off"}
	}
	list[2].Purpose = "each month that is exported"
	return list
}
