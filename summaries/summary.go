package summaries

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/shopspring/decimal"
)

// averagePlaces is how many decimals an average has: cents.
const averagePlaces = 2

// ErrNotFound says that a user has no transactions.
var ErrNotFound = errors.New("the user has no transactions")

// Summary is the count and exact sum of one user's transactions.
type Summary struct {
	UserID       int32
	Transactions int64 // at least 1
	Total        decimal.Decimal
	Version      int64     // counts the changes of this summary
	FileID       int64     // the last file that changed it
	UpdatedAt    time.Time // when that file was committed
}

// Average is Total / Transactions, rounded half away from zero to two decimals.
// The division is exact before it is rounded, so 0.005 never turns into 0.00 by
// way of 0.00499….
func (s Summary) Average() decimal.Decimal {
	return s.Total.DivRound(decimal.NewFromInt(s.Transactions), averagePlaces)
}

// Store reads the rollups.
type Store struct {
	pool *pgxpool.Pool
}

// NewStore reads through pool, which stays the caller's to close.
func NewStore(pool *pgxpool.Pool) *Store { return &Store{pool: pool} }

const summaryQuery = `
SELECT total_transactions, total_amount, version, file_id, updated_at
FROM user_summary WHERE user_id = $1`

// Get returns a user's summary, or [ErrNotFound]. It is one read by primary key,
// on one prepared statement a connection.
func (s *Store) Get(ctx context.Context, userID int32) (Summary, error) {
	sum := Summary{UserID: userID}
	err := s.pool.QueryRow(ctx, summaryQuery, pgx.QueryExecModeCacheStatement, userID).
		Scan(&sum.Transactions, &sum.Total, &sum.Version, &sum.FileID, &sum.UpdatedAt)
	if errors.Is(err, pgx.ErrNoRows) {
		return Summary{}, ErrNotFound
	}
	if err != nil {
		return Summary{}, fmt.Errorf("look a summary up: %w", err)
	}
	return sum, nil
}
