package summaries

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opentax/tally/internal/money"
)

// ErrFuture is returned for a moment that has not come yet.
var ErrFuture = errors.New("the moment lies in the future")

// ErrRetiredSince is returned for a moment before months of the range were retired: their rows
// of then are gone.
var ErrRetiredSince = errors.New("months of the range were retired after the moment")

// asOfQuery adds up the user's rows that were stored after the last change up to $2: present
// ones that an earlier change brought, and former ones that a later change ended. A row came
// with the load of its file, unless it has an origin. Of months that had been retired by then, the rollups
// have what was kept. Whether the moment has come is for the
// clock that gave the changes their times.
const asOfQuery = `
WITH change AS MATERIALIZED (
    SELECT coalesce((SELECT number FROM audit_chain WHERE at <= $2 ORDER BY at DESC LIMIT 1), 0) AS number
), t AS (
    SELECT amount, file_id, line FROM transactions WHERE user_id = $1 AND transaction_date BETWEEN $3 AND $4
), m AS (
    SELECT month, total_transactions, total_amount FROM user_months WHERE user_id = $1 AND month BETWEEN $3 AND $4
)
SELECT $2 > clock_timestamp(), (SELECT number FROM change), coalesce(sum(n), 0)::bigint, coalesce(sum(amount), 0),
       EXISTS (SELECT 1 FROM etl_retired WHERE change > (SELECT number FROM change) AND month <= $4 AND month + interval '1 month' > $3),
       (SELECT greatest(before, DATE '0001-01-01') FROM etl_retired_before),
       EXISTS (SELECT 1 FROM etl_retired WHERE totals = 'dropped' AND month BETWEEN $3 AND $4)
FROM (
    SELECT 1 AS n, t.amount::numeric FROM t
    LEFT JOIN audit_chain c ON c.kind = 'load' AND c.file_id = t.file_id
    WHERE coalesce((SELECT max(o.change) FROM transaction_origins o WHERE o.file_id = t.file_id AND o.line = t.line), c.number, 0)
          <= (SELECT number FROM change)
    UNION ALL
    SELECT 1, v.amount::numeric FROM transaction_versions v
    WHERE v.user_id = $1 AND v.transaction_date BETWEEN $3 AND $4
      AND v.from_change <= (SELECT number FROM change) AND v.to_change > (SELECT number FROM change)
    UNION ALL
    SELECT total_transactions, total_amount FROM m WHERE month < (SELECT before FROM etl_retired_before)
) stored`

// Past is a user's summary as of a former moment.
type Past struct {
	UserID       int32
	Transactions int64 // at least 1
	Total        money.Sum
	Change       int64 // the last change of any data up to the moment, by its number in the audit chain
}

// Average is Total / Transactions, rounded half away from zero to two decimals.
func (p Past) Average() money.Sum { return p.Total.Average(p.Transactions) }

// AsOf returns the count and sum that the user's transactions of some days had when the last
// change of any data up to a moment had been made; [ErrNotFound] if there were none then,
// [ErrFuture], [ErrRetiredSince], or a [RetiredError] as of Range. The cost grows with the user's rows in those days, present and former.
func (s *Store) AsOf(ctx context.Context, userID int32, moment time.Time, days Days) (Past, error) {
	leave, err := s.Turn(ctx)
	if err != nil {
		return Past{}, fmt.Errorf("look up a former summary: %w", err)
	}
	defer leave()
	p, future, since, r := Past{UserID: userID}, false, false, retired{}
	err = s.pool.QueryRow(ctx, asOfQuery, s.prepared, userID, moment, days.From, days.To).
		Scan(&future, &p.Change, &p.Transactions, &p.Total, &since, &r.before, &r.dropped)
	parts := days.split()
	switch {
	case err != nil:
		return Past{}, fmt.Errorf("look up a former summary: %w", err)
	case future:
		return Past{}, ErrFuture
	case since:
		return Past{}, ErrRetiredSince
	case r.refuse(days, parts.head, parts.tail) != nil:
		return Past{}, r.refuse(days, parts.head, parts.tail)
	case p.Transactions == 0:
		return Past{}, ErrNotFound
	}
	return p, nil
}
