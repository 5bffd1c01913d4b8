package summaries

import (
	"context"
	"fmt"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"

	"github.com/jackc/pgx/v5"
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
// outside the range.
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

const (
	listQuery = `
SELECT s.user_id,` + summaryColumns + `, (SELECT f.run_id FROM etl_files f WHERE f.id = s.file_id)
FROM user_summary s`
	manyQuery = listQuery + " WHERE s.user_id = ANY($1) ORDER BY s.user_id"
)

// Many returns the summaries of those of the users that have one, in the order of
// their ids, in one read.
func (s *Store) Many(ctx context.Context, userIDs []int32) ([]Summary, error) {
	return s.list(ctx, manyQuery, userIDs)
}

func (s *Store) list(ctx context.Context, query string, arg any) ([]Summary, error) {
	rows, err := s.pool.Query(ctx, query, pgx.QueryExecModeCacheStatement, arg)
	if err != nil {
		return nil, fmt.Errorf("look summaries up: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (sum Summary, err error) {
		var run *int64
		err = row.Scan(&sum.UserID, &sum.Transactions, &sum.Total, &sum.Version, &sum.FileID, &sum.UpdatedAt, &run)
		if run != nil {
			sum.RunID = *run
		}
		return sum, err
	})
	if err != nil {
		return nil, fmt.Errorf("look summaries up: %w", err)
	}
	return list, nil
}
