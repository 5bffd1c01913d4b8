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
		leave, err := s.take(ctx)
		if err != nil {
			return Summary{}, fmt.Errorf("sum a range: %w", err)
		}
		defer leave()
	}
	return s.one(ctx, "sum a range", userID, query, args...)
}
