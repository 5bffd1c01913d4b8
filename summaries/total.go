package summaries

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"
)

// Period is the unit that totals are summed by.
type Period string

// The periods.
const (
	Day   Period = "day"
	Month Period = "month"
)

// Next is the start of the period after the one with that start.
func (p Period) Next(start civil.Date) civil.Date {
	if p == Month {
		return start.Month().Last() + 1
	}
	return start + 1
}

// Total is the count and exact sum of a period that has transactions. Its fields are in the order
// of the statements' columns.
type Total struct {
	Start        civil.Date `json:"start" doc:"The day, or the first day of the month."`
	Transactions int64      `json:"total_transactions" minimum:"1" example:"50" doc:"The number of its transactions."`
	Amount       money.Sum  `json:"total_amount" doc:"The exact sum of the amounts."`
}

// TotalsQuery selects totals, in order of time.
type TotalsQuery struct {
	UserID int32 // 0 means all users
	By     Period
	Days   Days        // only these count, also within a month
	After  *civil.Date // start of a period: only later ones; nil means all
	Limit  int         // maximum number of periods
}

// The statements by user and period. Those of all users read the rollup by day, one row a day;
// those of one user read the rollup by month, or the user's rows in the range by primary key. None
// reads rows outside the range. They are prepared, past Bun: through it, a year of a user's days
// takes 3.9 times as long and all of a user's months 2.2 times, since every partition of the range
// is planned again.
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
SELECT start, sum(n)::bigint, sum(amount) FROM (
    SELECT month AS start, total_transactions AS n, total_amount AS amount FROM user_months WHERE month BETWEEN $1 AND $2 AND user_id = $4
    UNION ALL
    SELECT date_trunc('month', transaction_date)::date, 1, amount::numeric FROM transactions
    WHERE user_id = $4 AND (transaction_date BETWEEN $5 AND $6 OR transaction_date BETWEEN $7 AND $8)
) part GROUP BY start ORDER BY start LIMIT $3`
	// retiredQuery is read after the totals, so that no month is retired in between unnoticed.
	retiredQuery = `
SELECT greatest(before, DATE '0001-01-01'),
       EXISTS (SELECT 1 FROM etl_retired WHERE totals = 'dropped' AND month BETWEEN date_trunc('month', $1::date) AND $2::date) FROM etl_retired_before`
)

// statement is the statement with its arguments. Bounds are always dates, so that one prepared
// statement does.
func (q TotalsQuery) statement() (sql string, args []any) {
	from := q.Days.From
	if q.After != nil {
		from = max(from, q.By.Next(*q.After))
	}
	args = []any{from, q.Days.To, q.Limit}
	switch {
	case q.UserID == 0 && q.By == Month:
		return monthlyTotals, args
	case q.UserID == 0:
		return dailyTotals, args
	}
	args = append(args, q.UserID)
	switch {
	case q.By != Month:
		return userDailyTotals, args
	case q.Days.split().whole():
		return userWholeMonths, args
	default:
		p := Days{from, q.Days.To}.split()
		return userMonthlyTotals, []any{p.months.From, p.months.To, q.Limit, q.UserID, p.head.From, p.head.To, p.tail.From, p.tail.To}
	}
}

// Totals returns the totals of the periods that have transactions, possibly none.
func (s *Store) Totals(ctx context.Context, q TotalsQuery) ([]Total, error) {
	sql, args := q.statement()
	if sql != dailyTotals && sql != userWholeMonths { // which read a page by key
		leave, err := s.Turn(ctx)
		if err != nil {
			return nil, fmt.Errorf("sum by %s: %w", q.By, err)
		}
		defer leave()
	}
	totals, err := collect[Total](ctx, s, sql, args...)
	if err == nil {
		err = s.refuseRetired(ctx, q)
	}
	if err != nil {
		return nil, fmt.Errorf("sum by %s: %w", q.By, err)
	}
	return totals, nil
}

// refuseRetired is an error if the totals may lack something because of retired months. A list of
// a user's days that does not say where it begins begins with the first that is stored.
func (s *Store) refuseRetired(ctx context.Context, q TotalsQuery) error {
	p, rows := q.Days.split(), []Days{}
	switch {
	case q.UserID != 0 && q.By == Month:
		rows = append(rows, p.head, p.tail)
	case q.UserID != 0 && q.Days.From != civil.Min:
		rows = append(rows, q.Days)
	}
	if q.Days.From == civil.Min && p.tail.empty() {
		return nil
	}
	var r retired
	err := s.pool.QueryRow(ctx, retiredQuery, s.prepared, q.Days.From, q.Days.To).Scan(&r.before, &r.dropped)
	if err != nil {
		return fmt.Errorf("look up the retired months: %w", err)
	}
	return r.refuse(q.Days, rows...)
}

// collect returns a prepared statement's rows, whose columns are in the order of T's fields.
func collect[T any](ctx context.Context, s *Store, sql string, args ...any) ([]T, error) {
	rows, err := s.pool.Query(ctx, sql, append([]any{s.prepared}, args...)...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[T])
}
