package prove

import (
	"github.com/opentax/tally/internal/explain"
	"github.com/opentax/tally/internal/sqlfile"
)

// Queries are the statements of a receipt, with arguments from s.
func Queries(s explain.Sample) []explain.Query {
	statements := sqlfile.Parse(proveSQL)
	uses := func(indexes ...string) explain.Expectation { return explain.Expectation{Indexes: indexes} }
	list := []explain.Query{
		{Name: "rows", Args: []any{s.UserID}, Expect: uses("transactions_pkey")},
		{Name: "summary", Args: []any{s.UserID}, Expect: uses("user_summary_pkey")},
		{Name: "retired", Args: []any{s.UserID, []int64{s.FileID}}},
		{Name: "uncounted", Args: []any{s.UserID, []int64{s.FileID}}, Expect: explain.Expectation{WholeTable: true}},
		{Name: "chain_size", Args: []any{int64(1), []int64{1}}},
		{Name: "links", Args: []any{int64(1), []int64{1}}, Expect: explain.Expectation{WholeTable: true}},
		{Name: "before", Args: []any{int64(1)}},
	}
	for i := range list {
		list[i].SQL, list[i].Name, list[i].Purpose = statements.Get(list[i].Name), "prove/"+list[i].Name, "each tally prove"
	}
	return list
}
