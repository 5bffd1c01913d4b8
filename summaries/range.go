package summaries

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/explain"
)

// The statements of a range, past Bun since their plan is the point: one over whole months, which are in a rollup, and one for
// a range that cuts its first or last month, whose rows are read one by one. The
// summary beside it tells by which load the answer may differ from the one before.
const (
	rangeQuery = rangeHead + wholeMonths + rangeTail
	cutQuery   = rangeHead + wholeMonths + cutMonths + rangeTail

	rangeHead = `SELECT r.n, r.total, s.version, s.file_id, s.updated_at
FROM user_summary s CROSS JOIN LATERAL (
    SELECT sum(total_transactions)::bigint AS n, sum(total_amount) AS total FROM (`
	wholeMonths = `SELECT total_transactions, total_amount FROM user_months
    WHERE user_id = $1 AND month BETWEEN $2 AND $3`
	cutMonths = `
    UNION ALL
    SELECT 1, amount::numeric FROM transactions
    WHERE user_id = $1 AND (transaction_date BETWEEN $4 AND $5 OR transaction_date BETWEEN $6 AND $7)`
	rangeTail = `) part
) r
WHERE s.user_id = $1 AND r.n > 0`
)

// Days are those from From to To, both in it. From [civil.Min] to [civil.Max], see
// [AllDays], is every day.
type Days struct{ From, To civil.Date }

// AllDays bounds nothing.
func AllDays() Days { return Days{civil.Min, civil.Max} }

func (d Days) empty() bool { return d.From > d.To }

// parts are what a range is made of: whole months, by the first days of the first and
// the last, and the days before and after them.
type parts struct{ months, head, tail Days }

func (p parts) whole() bool { return p.head.empty() && p.tail.empty() }

// split takes a range apart.
func (d Days) split() parts {
	none := Days{From: civil.Max, To: civil.Min}
	first, last := d.From.Month(), d.To.Month()
	p := parts{head: none, tail: none}
	if first.First() != d.From {
		p.head = Days{d.From, first.Last()}
		first++
	}
	if last.Last() != d.To {
		p.tail = Days{last.First(), d.To}
		last--
	}
	p.months = Days{first.First(), last.First()}
	if p.months.empty() && !p.whole() { // within one month or two
		p.head, p.tail = d, none
	}
	return p
}

// rangeStatement is what sums a range, with its arguments.
func rangeStatement(userID int32, days Days) (query string, args []any) {
	p := days.split()
	args = []any{userID, p.months.From, p.months.To}
	if p.whole() {
		return rangeQuery, args
	}
	return cutQuery, append(args, p.head.From, p.head.To, p.tail.From, p.tail.To)
}

// Range returns the count and sum of a user's transactions of some days, or
// [ErrNotFound] where there are none. Version and the like are those of the user's whole summary. The cost grows with the user's months
// in the range, and with the user's rows in the months that the range cuts.
func (s *Store) Range(ctx context.Context, userID int32, days Days) (Summary, error) {
	query, args := rangeStatement(userID, days)
	sum := Summary{UserID: userID}
	err := s.pool.QueryRow(ctx, query, append([]any{pgx.QueryExecModeCacheStatement}, args...)...).
		Scan(&sum.Transactions, &sum.Total, &sum.Version, &sum.FileID, &sum.UpdatedAt)
	if errors.Is(err, pgx.ErrNoRows) {
		return Summary{}, ErrNotFound
	}
	if err != nil {
		return Summary{}, fmt.Errorf("sum a range: %w", err)
	}
	sum.RunID, err = s.runOf(ctx, sum.FileID)
	return sum, err
}

// rangeReads are the statements of [Store.Range].
func rangeReads(s explain.Sample) []explain.Query {
	months := explain.Expectation{Indexes: []string{"user_summary_pkey", "user_months_pkey"}}
	first := s.From.Month()
	whole, wholeArgs := rangeStatement(s.UserID, Days{first.First(), (first + 2).Last()})
	cut, cutArgs := rangeStatement(s.UserID, Days{s.From, s.To})
	// At most the two months that are cut are read from transactions.
	cutMonths := explain.Expectation{Indexes: append(months.Indexes, "transactions_pkey"), MaxPartitions: 2}
	months.MaxBuffers = 32
	return []explain.Query{
		{Name: "summaries/range_whole", Purpose: "each summary of whole months", SQL: whole, Args: wholeArgs, Expect: months},
		{Name: "summaries/range_cut", Purpose: "each summary of a range that cuts a month", SQL: cut, Args: cutArgs, Expect: cutMonths},
	}
}

// Order is what a list of users goes by.
type Order string

// The orders, each descending; equal users are in order of their ids.
const (
	ByAmount       Order = "total_amount"
	ByTransactions Order = "total_transactions"
)

func selectTop(db *bun.DB, by Order, limit int) *bun.SelectQuery {
	return selectSummaries(db).OrderExpr("? DESC, user_id", bun.Ident(by)).Limit(int64(limit))
}

// Top returns the users who come first in an order, at most limit. It reads every
// summary: an index for it would be written with each load, and each change of a
// summary would cost a change of that index.
func (s *Store) Top(ctx context.Context, by Order, limit int) (list []Summary, err error) {
	if by != ByAmount && by != ByTransactions {
		return nil, fmt.Errorf("list the top users: by %q, want %s or %s", by, ByAmount, ByTransactions)
	}
	if err := selectTop(s.db, by, limit).Scan(ctx, &list); err != nil {
		return nil, fmt.Errorf("list the top users: %w", err)
	}
	return list, nil
}

// listReads are the lists of summaries, from a database that only writes statements.
func listReads(s explain.Sample) []explain.Query {
	db := bun.NewDB(nil, pgdialect.New())
	return []explain.Query{
		{
			Name: "summaries/many", Purpose: "each list of summaries by ids", SQL: selectMany(db, s.UserIDs).String(),
			Expect: explain.Expectation{Indexes: []string{"user_summary_pkey"}},
		},
		{
			Name: "summaries/top_by_amount", Purpose: "each list of the top users", SQL: selectTop(db, ByAmount, page).String(),
			Expect: explain.Expectation{WholeTable: true},
		},
		{
			Name: "summaries/top_by_transactions", Purpose: "each list of the top users", SQL: selectTop(db, ByTransactions, page).String(),
			Expect: explain.Expectation{WholeTable: true},
		},
	}
}
