package summaries

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/uptrace/bun"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/explain"
	"github.com/opentax/tally/internal/money"
)

// Period is what totals are summed by.
type Period string

// The periods.
const (
	Day   Period = "day"
	Month Period = "month"
)

// next is the start of the period after the one that starts there.
func (p Period) next(start civil.Date) civil.Date {
	if p == Month {
		return start.Month().Last() + 1
	}
	return start + 1
}

// Total is the count and exact sum of a period in which there are transactions.
type Total struct {
	Start        civil.Date // the period's first day
	Transactions int64      // at least 1
	Amount       money.Sum
}

// TotalsQuery asks for totals in order of time.
type TotalsQuery struct {
	UserID int32 // 0 means all users
	By     Period
	// Days are those that count. A month that they cut is summed as far as they let it.
	Days  Days
	After *civil.Date // start of a period; only later ones are given; nil means all
	Limit int         // periods at most
}

// The statements by user and period. Those of all users read the rollup by day, at
// most as many rows as there are days; those of one user read the rollup by month, or
// the user's own rows in the range, by primary key. None costs anything for rows
// outside the range. They are prepared, past Bun: through it, a year of a user's days
// takes 3.9 times as long and all of a user's months 2.2 times, since every partition of
// the range is planned anew.
const (
	dailyTotals = `
SELECT transaction_date, total_transactions, total_amount FROM daily_totals
WHERE transaction_date BETWEEN $1 AND $2 ORDER BY transaction_date LIMIT $3`
	monthlyTotals = `
SELECT date_trunc('month', transaction_date)::date AS start, sum(total_transactions)::bigint, sum(total_amount) FROM daily_totals
WHERE transaction_date BETWEEN $1 AND $2 GROUP BY start ORDER BY start LIMIT $3`
	userDailyTotals = `
SELECT transaction_date, count(*), sum(amount::numeric) FROM transactions
WHERE transaction_date BETWEEN $1 AND $2 AND user_id = $4 GROUP BY transaction_date ORDER BY transaction_date LIMIT $3`
	userWholeMonths = `
SELECT month, total_transactions, total_amount FROM user_months
WHERE month BETWEEN $1 AND $2 AND user_id = $4 ORDER BY month LIMIT $3`
	userMonthlyTotals = `
SELECT date_trunc('month', transaction_date)::date AS start, count(*), sum(amount::numeric) FROM transactions
WHERE transaction_date BETWEEN $1 AND $2 AND user_id = $4 GROUP BY start ORDER BY start LIMIT $3`
)

func (q TotalsQuery) statement() string {
	switch {
	case q.UserID == 0 && q.By == Month:
		return monthlyTotals
	case q.UserID == 0:
		return dailyTotals
	case q.By == Month && q.Days.split().whole():
		return userWholeMonths
	case q.By == Month:
		return userMonthlyTotals
	default:
		return userDailyTotals
	}
}

// bounds are the first and last day that the statement is to look at. They are
// values of every date there can be, so that one prepared statement does.
func (q TotalsQuery) bounds() Days {
	days := q.Days
	if q.After != nil {
		days.From = max(days.From, q.By.next(*q.After))
	}
	return days
}

// args are the statement's arguments.
func (q TotalsQuery) args() []any {
	days := q.bounds()
	args := []any{days.From, days.To, q.Limit}
	if q.UserID != 0 {
		args = append(args, q.UserID)
	}
	return args
}

// Totals gives the totals of the periods in which there are transactions; none is an
// empty list.
func (s *Store) Totals(ctx context.Context, q TotalsQuery) ([]Total, error) {
	rows, err := s.pool.Query(ctx, q.statement(), append([]any{pgx.QueryExecModeCacheStatement}, q.args()...)...)
	if err != nil {
		return nil, fmt.Errorf("sum by %s: %w", q.By, err)
	}
	totals, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t Total, err error) {
		err = row.Scan(&t.Start, &t.Transactions, &t.Amount)
		return t, err
	})
	if err != nil {
		return nil, fmt.Errorf("sum by %s: %w", q.By, err)
	}
	return totals, nil
}

// totalReads are the statements of [Store.Totals].
func totalReads(s explain.Sample) []explain.Query {
	of := func(name, purpose string, q TotalsQuery, e explain.Expectation) explain.Query {
		q.Limit = page
		sql, args := q.statement(), q.args()
		return explain.Query{Name: "summaries/" + name, Purpose: purpose, SQL: sql, Args: args, Expect: e}
	}
	rows := explain.Expectation{Indexes: []string{"transactions_pkey"}, MaxPartitions: int(s.To.Month()-s.From.Month()) + 1}
	days := Days{s.From, s.To}
	return []explain.Query{
		of("totals_by_day", "each page of totals of all users by day", TotalsQuery{By: Day, Days: days}, explain.Expectation{}),
		of("totals_by_month", "each page of totals of all users by month", TotalsQuery{By: Month, Days: days}, explain.Expectation{}),
		of("user_totals_by_day", "each page of a user's totals by day", TotalsQuery{UserID: s.UserID, By: Day, Days: days}, rows),
		of("user_totals_by_month", "each page of a user's totals by whole months", TotalsQuery{UserID: s.UserID, By: Month, Days: AllDays()},
			explain.Expectation{Indexes: []string{"user_months_pkey"}}),
		of("user_totals_by_cut_month", "each page of a user's totals by months that a range cuts", TotalsQuery{UserID: s.UserID, By: Month, Days: days}, rows),
	}
}

// selectSummaries is a list of whole summaries, each with the run that last changed it.
func selectSummaries(db *bun.DB) *bun.SelectQuery {
	return db.NewSelect().Model((*Summary)(nil)).
		ColumnExpr("?TableColumns, (SELECT run_id FROM etl_files WHERE id = summary.file_id) AS run_id")
}

func selectMany(db *bun.DB, userIDs []int32) *bun.SelectQuery {
	return selectSummaries(db).Where("user_id IN (?)", bun.List(userIDs)).Order("user_id")
}

// Many returns the summaries of those of the users that have one, in the order of
// their ids, in one read.
func (s *Store) Many(ctx context.Context, userIDs []int32) (list []Summary, err error) {
	if err := selectMany(s.db, userIDs).Scan(ctx, &list); err != nil {
		return nil, fmt.Errorf("look up summaries: %w", err)
	}
	return list, nil
}
