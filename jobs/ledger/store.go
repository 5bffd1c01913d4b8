package ledger

import (
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/uptrace/bun"

	"github.com/opentax/tally/internal/postgres"
)

// MaxPage bounds what one read of a list returns.
const MaxPage = 1001 // a page of the API, and one more row that tells of the next page

// Store reads the ledger.
type Store struct{ db *bun.DB }

// NewStore reads through pool, which stays the caller's to close.
func NewStore(pool *pgxpool.Pool) *Store { return &Store{postgres.Bun(pool)} }

// page bounds a list: MaxPage rows where nobody asks for fewer.
func page(q *bun.SelectQuery, limit int) *bun.SelectQuery {
	if limit < 1 || limit > MaxPage {
		limit = MaxPage
	}
	return q.Limit(int64(limit))
}

func failed(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("read "+format+": %w", append(args, err)...)
}
