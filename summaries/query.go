package summaries

import (
	"fmt"
	"slices"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/explain"
	"github.com/opentax/tally/internal/sqlfile"
)

// page is the API's default page size.
const page = 100

// Queries are the statements of this package, with arguments from s. DDL, SET and COPY, which have no
// plan, and the announcement, a call of one function, are left out.
func Queries(s explain.Sample) []explain.Query {
	list := slices.Concat(reads(s), rangeReads(s), listReads(s), totalReads(s))
	whole := explain.Expectation{WholeTable: true}
	list = append(list, explain.Query{Name: "verify_size", Purpose: "each tally verify", SQL: sizeQuery, Expect: whole})
	for _, c := range checks() {
		list = append(list, explain.Query{Name: c.name, Purpose: "each tally verify", SQL: c.sql, Expect: whole})
	}
	list = append(list, refreshes(s)...)
	for i := range list {
		list[i].Name = "summaries/" + list[i].Name
	}
	return list
}

func reads(s explain.Sample) []explain.Query {
	summary := explain.Expectation{Indexes: []string{"user_summary_pkey"}, MaxBuffers: 16}
	return []explain.Query{
		{Name: "look_up", Purpose: "each summary that is asked for past the cache", SQL: summaryQuery, Args: []any{s.UserID}, Expect: summary},
		{Name: "look_up_epoch", Purpose: "each summary that the cache keeps", SQL: readingQuery, Args: []any{s.UserID}, Expect: summary},
		{
			Name: "run_of_file", Purpose: "once for each file that a look-up meets", SQL: runQuery, Args: []any{s.FileID},
			Expect: explain.Expectation{Indexes: []string{"etl_files_pkey"}, MaxBuffers: 8},
		},
		{Name: "epoch", Purpose: "each time that a cache begins to listen", SQL: epochQuery},
		{
			Name: "transactions", Purpose: "each page of a user's rows", SQL: transactionsQuery,
			Args: []any{s.UserID, civil.Min, int64(0), page}, Expect: explain.Expectation{Indexes: []string{"transactions_pkey"}},
		},
	}
}

// refreshes are the statements of a load, with the sample's rows instead of the temporary table of its
// deltas.
func refreshes(s explain.Sample) (list []explain.Query) {
	statements := sqlfile.Parse(refreshSQL)
	before := []string{"SET LOCAL jit = off", "SET LOCAL tally.writer = 'tally'", deferTrigger} // as the load does
	for _, r := range Rollups() {
		empty, _ := r.statement(statements, "empty", 0)
		list = append(list, explain.Query{
			Name: r.Table + "/empty", Purpose: "each load", SQL: empty, Before: before, Expect: explain.Expectation{MaxBuffers: 8},
		})
		for i, name := range []string{"delete", "update", "upsert"} {
			q := explain.Query{Name: r.Table + "/" + name, Purpose: "each load", Before: before, Writes: true}
			if r.PerUser() { // otherwise it has so few rows that a scan may be as good
				q.Expect.Indexes = []string{r.Table + "_pkey"}
			}
			q.SQL, q.Args = r.statement(statements, name, s.FileID)
			q.Given = fmt.Sprintf(`refresh_delta AS MATERIALIZED (
    SELECT DISTINCT %s, %d::bigint AS n, 0.01::numeric AS amount
    FROM unnest($%d::int[], $%d::date[]) s(user_id, transaction_date) ORDER BY %s
)`, r.selected(), i-1, len(q.Args)+1, len(q.Args)+2, r.keys())
			q.Args = append(q.Args, s.UserIDs, s.Dates)
			list = append(list, q)
		}
	}
	return list
}
