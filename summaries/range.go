package summaries

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// rangeQuery reads the user's own rows in the range, by primary key in each month of
// it, and nothing else: months outside are pruned when the statement starts. The
// summary beside it tells by which load the answer may differ from the one before.
const rangeQuery = `SELECT r.n, r.total, s.version, s.file_id, s.updated_at
FROM user_summary s CROSS JOIN LATERAL (
    SELECT count(*) AS n, sum(amount::numeric) AS total FROM transactions t
    WHERE t.user_id = $1 AND t.transaction_date BETWEEN $2 AND $3
) r
WHERE s.user_id = $1 AND r.n > 0`

// Range returns the count and sum of a user's transactions of the days from … to, both
// in it; a zero time is no bound. [ErrNotFound] says that there are none. Version and
// the like are those of the user's whole summary. The cost grows with the user's rows
// in the range and with its months.
func (s *Store) Range(ctx context.Context, userID int32, from, to time.Time) (Summary, error) {
	if to.IsZero() {
		to = lastDay()
	}
	sum := Summary{UserID: userID}
	err := s.pool.QueryRow(ctx, rangeQuery, pgx.QueryExecModeCacheStatement, userID, from, to).
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

// Order is what a list of users goes by.
type Order string

// The orders, each from the greatest down; users who are equal in it come by their ids.
const (
	ByAmount       Order = "total_amount"
	ByTransactions Order = "total_transactions"
)

const topQuery = listQuery + " ORDER BY s.%s DESC, s.user_id LIMIT $1"

// Top returns the users who come first in an order, at most limit. It reads every
// summary: an index for it would be written with each load, and each change of a
// summary would cost a change of that index.
func (s *Store) Top(ctx context.Context, by Order, limit int) ([]Summary, error) {
	if by != ByAmount && by != ByTransactions {
		return nil, fmt.Errorf("list the top users: by %q, want %s or %s", by, ByAmount, ByTransactions)
	}
	return s.list(ctx, fmt.Sprintf(topQuery, by), limit)
}
