package summaries

import (
	"fmt"
	"slices"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/explain"
	"github.com/opentax/tally/internal/sqlfile"
)

// page is how many rows the named lists ask for, as the API does where nothing is said.
const page = 100

// Queries are the statements of this package, with arguments from s. Left out are
// DDL, SET and COPY, which have no plan, and the announcement, a call of a function.
func Queries(s explain.Sample) []explain.Query {
	return append(append(reads(s), verifications()...), refreshes(s)...)
}

func reads(s explain.Sample) []explain.Query {
	summary := explain.Expectation{Indexes: []string{"user_summary_pkey"}, MaxBuffers: 16}
	user := []string{"transactions_pkey"}
	list := []explain.Query{
		{Name: "summaries/look_up", Purpose: "each summary that is asked for past the cache", SQL: summaryQuery, Args: []any{s.UserID}, Expect: summary},
		{Name: "summaries/look_up_epoch", Purpose: "each summary that the cache keeps", SQL: readingQuery, Args: []any{s.UserID}, Expect: summary},
		{
			Name: "summaries/run_of_file", Purpose: "once for each file that a look-up meets", SQL: runQuery, Args: []any{s.FileID},
			Expect: explain.Expectation{Indexes: []string{"etl_files_pkey"}, MaxBuffers: 8},
		},
		{Name: "summaries/epoch", Purpose: "each time that a cache begins to listen", SQL: epochQuery},
		{
			Name: "summaries/transactions", Purpose: "each page of a user's rows", SQL: transactionsQuery,
			Args: []any{s.UserID, civil.Min, int64(0), page}, Expect: explain.Expectation{Indexes: user},
		},
	}
	return slices.Concat(list, rangeReads(s), listReads(s), totalReads(s))
}

func verifications() []explain.Query {
	statements := sqlfile.Parse(verifySQL)
	whole := explain.Expectation{WholeTable: true}
	list := []explain.Query{{Name: "summaries/verify_size", Purpose: "each tally verify", SQL: sizeQuery, Expect: whole}}
	for _, r := range Rollups() {
		list = append(list, explain.Query{
			Name: "summaries/" + r.Table + "/verify", Purpose: "each tally verify", SQL: r.verification(statements), Expect: whole,
		})
	}
	for _, c := range checks() {
		list = append(list, explain.Query{
			Name: "summaries/verify_" + c.statement, Purpose: "each tally verify", SQL: statements.Get(c.statement), Expect: whole,
		})
	}
	return list
}

// refreshes are the statements of a load, which read its deltas from a temporary
// table: for each of them the sample's rows stand in.
func refreshes(s explain.Sample) []explain.Query {
	statements := sqlfile.Parse(refreshSQL)
	before := []string{"SET LOCAL jit = off", "SET LOCAL tally.writer = 'tally'", deferTrigger} // as the load does
	var list []explain.Query
	for _, r := range Rollups() {
		empty, _ := r.statement(statements, "empty", 0)
		list = append(list, explain.Query{
			Name: "summaries/" + r.Table + "/empty", Purpose: "each load", SQL: empty, Before: before,
			Expect: explain.Expectation{MaxBuffers: 8},
		})
		for _, name := range []string{"delete", "update", "upsert"} {
			q := explain.Query{Name: "summaries/" + r.Table + "/" + name, Purpose: "each load", Before: before, Writes: true}
			if r.PerUser() { // else it has so few rows that a scan may do as well
				q.Expect.Indexes = []string{r.Table + "_pkey"}
			}
			q.SQL, q.Args = r.statement(statements, name, s.FileID)
			q.Given, q.Args = r.given(name, s, q.Args)
			list = append(list, q)
		}
	}
	return list
}

// given is the sample's rows as deltas of the kind that the statement carries out.
func (r Rollup) given(statement string, s explain.Sample, args []any) (string, []any) {
	n := map[string]int{"delete": -1, "update": 0, "upsert": 1}[statement]
	text := fmt.Sprintf(`refresh_delta AS MATERIALIZED (
    SELECT DISTINCT %s, %d::bigint AS n, 0.01::numeric AS amount
    FROM unnest($%d::int[], $%d::date[]) s(user_id, transaction_date) ORDER BY %s
)`, r.selected(), n, len(args)+1, len(args)+2, r.keys())
	return text, append(args, s.UserIDs, s.Dates)
}
