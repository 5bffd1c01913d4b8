package summaries

import (
	"context"
	"fmt"

	"github.com/opentax/tally/internal/civil"
)

// The statements of a range, prepared past Bun since their plan matters: one over whole months,
// which are in a rollup, and one for a range that cuts its first or last month, whose rows are read
// one by one. The columns of the summary identify the last load that can have changed the answer.
const (
	rangeQuery = rangeHead + wholeMonths + rangeTail
	cutQuery   = rangeHead + wholeMonths + cutMonths + rangeTail

	rangeHead = `SELECT coalesce(r.n, 0), coalesce(r.total, 0), s.version, s.file_id, s.updated_at, ` + retiredColumns + `
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
WHERE s.user_id = $1`
	// retiredColumns are the first day that is not retired, and whether a month of the range was taken out of the rollups.
	retiredColumns = `(SELECT greatest(before, DATE '0001-01-01') FROM etl_retired_before),
    EXISTS (SELECT 1 FROM etl_retired WHERE totals = 'dropped' AND month BETWEEN $2 AND $3)`
)

// Days are the days from From to To, inclusive; see [AllDays].
type Days struct{ From, To civil.Date }

// AllDays has every day.
func AllDays() Days { return Days{civil.Min, civil.Max} }

func (d Days) empty() bool { return d.From > d.To }

// parts are a range's whole months, as the first days of the first and the last, and the days
// before and after them.
type parts struct{ months, head, tail Days }

func (p parts) whole() bool { return p.head.empty() && p.tail.empty() }

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

func rangeStatement(userID int32, days Days) (query string, args []any) {
	p := days.split()
	args = []any{userID, p.months.From, p.months.To}
	if p.whole() {
		return rangeQuery, args
	}
	return cutQuery, append(args, p.head.From, p.head.To, p.tail.From, p.tail.To)
}

// Range returns the count and sum of a user's transactions of some days, or [ErrNotFound]. Version,
// file and run are those of the user's whole summary. The cost grows with the user's months in the
// range, and with the user's rows in the months that the range cuts.
func (s *Store) Range(ctx context.Context, userID int32, days Days) (Summary, error) {
	query, args := rangeStatement(userID, days)
	if query == cutQuery {
		leave, err := s.Turn(ctx)
		if err != nil {
			return Summary{}, fmt.Errorf("sum a range: %w", err)
		}
		defer leave()
	}
	var r retired
	sum, err := s.one(ctx, "sum a range", userID, []any{&r.before, &r.dropped}, query, args...)
	if err == nil {
		p := days.split()
		err = r.refuse(days, p.head, p.tail)
	}
	if err == nil && sum.Transactions == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return Summary{}, err
	}
	return sum, nil
}

// RetiredError reports that a range has days whose rows are gone, or whose share was taken out of
// the rollups.
type RetiredError struct {
	Before civil.Month // months before it are retired
}

func (e *RetiredError) Error() string {
	return fmt.Sprintf("the months before %s are retired, and cannot be summed by day", e.Before)
}

// retired is what a read must know of the retired months.
type retired struct {
	before  civil.Date // the first day that is not retired
	dropped bool       // a month of the range was taken out of the rollups
}

// refuse is a [RetiredError] if days of which rows were read are retired, or if a range that
// says where it begins has months that were taken out. One that does not has all that there is.
func (r retired) refuse(days Days, rows ...Days) error {
	gone := r.dropped && days.From != civil.Min
	for _, d := range rows {
		gone = gone || !d.empty() && d.From < r.before
	}
	if gone {
		return &RetiredError{r.before.Month()}
	}
	return nil
}
