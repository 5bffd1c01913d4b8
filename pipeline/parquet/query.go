package parquet

import (
	"cmp"
	"slices"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/explain"
	"github.com/opentax/tally/internal/sqlfile"
)

// Queries are the statements of an export, with arguments from s. Left out are those of
// one function, which have no plan: the lock and the snapshot.
func Queries(s explain.Sample) []explain.Query {
	statements := sqlfile.Parse(exportSQL)
	var firsts []civil.Date
	for _, d := range s.Dates {
		firsts = append(firsts, d.Month().First())
	}
	slices.Sort(firsts)
	firsts = slices.Compact(firsts)
	one := s.From.Month()
	list := []explain.Query{{Name: "state", SQL: statements.Get("state")}, {Name: "months", SQL: statements.Get("months")}}
	for _, t := range tables() {
		q := explain.Query{Name: t.name + "/export", SQL: t.sql}
		switch t.by {
		case month:
			q.Name = t.name
			q.Args, q.Expect.MaxPartitions, q.Purpose = []any{one.First(), (one + 1).First()}, 1, "each month that is exported"
		case months:
			q.Args = []any{firsts}
		}
		list = append(list, q)
	}
	for i := range list {
		q := &list[i]
		q.Name, q.Purpose, q.Expect.WholeTable = "parquet/"+q.Name, cmp.Or(q.Purpose, "each export"), true
		q.Before = []string{"SET LOCAL work_mem = '" + sortMemory + "'", "SET LOCAL jit = off"}
	}
	return list
}
