package summaries

import (
	"fmt"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/explain"
	"github.com/opentax/tally/internal/sqlfile"
)

// page is the API's default page size.
const page = 100

// Queries are the statements of this package, with arguments from s. DDL, SET and COPY, which have no
// plan, and the announcement, a call of one function, are left out.
func Queries(s explain.Sample) []explain.Query {
	list := reads(s)
	list = append(list, verifications(s)...)
	list = append(list, refreshes(s)...)
	for i := range list {
		list[i].Name = "summaries/" + list[i].Name
	}
	return list
}

func reads(s explain.Sample) (list []explain.Query) {
	add := func(name, purpose string, expect explain.Expectation, sql string, args ...any) {
		list = append(list, explain.Query{Name: name, Purpose: purpose, SQL: sql, Args: args, Expect: expect})
	}
	uses := func(indexes ...string) explain.Expectation { return explain.Expectation{Indexes: indexes} }
	whole := explain.Expectation{WholeTable: true}
	summary := explain.Expectation{Indexes: []string{"user_summary_pkey"}, MaxBuffers: 16}
	add("look_up", "each summary that is asked for past the cache", summary, summaryQuery, s.UserID)
	add("look_up_epoch", "each summary that the cache keeps", summary, readingQuery, s.UserID)
	file := explain.Expectation{Indexes: []string{"etl_files_pkey"}, MaxBuffers: 8}
	add("run_of_file", "once for each file that a look-up meets", file, runQuery, s.FileID)
	add("epoch", "each time that a cache begins to listen", explain.Expectation{}, epochQuery)
	add("transactions", "each page of a user's rows", uses("transactions_pkey"), transactionsQuery,
		s.UserID, civil.Min, int64(0), page)

	first := s.From.Month()
	sql, args := rangeStatement(s.UserID, Days{first.First(), (first + 2).Last()})
	months := explain.Expectation{Indexes: []string{"user_summary_pkey", "user_months_pkey"}, MaxBuffers: 32}
	add("range_whole", "each summary of whole months", months, sql, args...)
	cut := uses("user_summary_pkey", "user_months_pkey", "transactions_pkey")
	cut.MaxPartitions = 2 // the months that are cut
	sql, args = rangeStatement(s.UserID, Days{s.From, s.To})
	add("range_cut", "each summary of a range that cuts a month", cut, sql, args...)

	add("as_of", "each summary as of a former moment", uses("transactions_pkey", "transaction_versions_user"),
		asOfQuery, s.UserID, time.Unix(1<<30, 0).UTC(), civil.Min, civil.Max)

	db := bun.NewDB(nil, pgdialect.New()) // only writes statements
	add("many", "each list of summaries by ids", uses("user_summary_pkey"), selectMany(db, s.UserIDs).String())
	add("top_by_amount", "each list of the top users", whole, selectTop(db, ByAmount).String())
	add("top_by_transactions", "each list of the top users", whole, selectTop(db, ByTransactions).String())

	totals := func(name, of string, q TotalsQuery, expect explain.Expectation) {
		q.Limit = page
		sql, args := q.statement()
		add(name, "each page of "+of, expect, sql, args...)
	}
	days, rows := Days{s.From, s.To}, uses("transactions_pkey")
	rows.MaxPartitions = int(s.To.Month()-first) + 1
	totals("totals_by_day", "totals of all users by day", TotalsQuery{By: Day, Days: days}, explain.Expectation{})
	totals("totals_by_month", "totals of all users by month", TotalsQuery{By: Month, Days: days}, explain.Expectation{})
	totals("user_totals_by_day", "a user's totals by day", TotalsQuery{UserID: s.UserID, By: Day, Days: days}, rows)
	totals("user_totals_by_month", "a user's totals by whole months",
		TotalsQuery{UserID: s.UserID, By: Month, Days: AllDays()}, uses("user_months_pkey"))
	totals("user_totals_by_cut_month", "a user's totals by months that a range cuts",
		TotalsQuery{UserID: s.UserID, By: Month, Days: days}, rows)
	add("retired", "each list of totals that begins at a day", explain.Expectation{}, retiredQuery, s.From, s.To)
	return list
}

// verifications are the statements of a verification, those of a range with the sample's days.
func verifications(s explain.Sample) (list []explain.Query) {
	statements := sqlfile.Parse(verifySQL)
	add := func(name, purpose, sql string, args ...any) {
		list = append(list, explain.Query{
			Name: name, Purpose: purpose, SQL: sql, Args: args, Expect: explain.Expectation{WholeTable: true},
		})
	}
	add("verify_size", "each tally verify", sizeQuery)
	add("verify_ranges", "each tally verify", statements.Get("ranges"), stepRows)
	add("verify_days", "each million rows of a tally verify", daysQuery(statements), int64(1), s.From, s.To)
	for _, c := range checks() {
		purpose := "each tally verify"
		if c.same != "" {
			if c.name != "verify_twice" { // has the sums of verify_keys
				add(c.name+"_sums", purpose, c.same, c.args(daySums{})...)
			}
			purpose = "a tally verify whose sums differ, or --full"
		}
		add(c.name, purpose, c.sql)
	}
	return list
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
