package ledger

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/uptrace/bun"

	"github.com/opentax/tally/internal/postgres"
)

// MaxPage bounds the rows of one read of a list.
const MaxPage = 1001 // a page of the API, and one row more to show that there is a next page

// Store reads the ledger.
type Store struct{ db *bun.DB }

// NewStore reads through pool, which the caller closes.
func NewStore(pool *pgxpool.Pool) *Store { return &Store{postgres.Bun(pool)} }

// list reads the rows of q; an error names them.
func list[T any](ctx context.Context, q *bun.SelectQuery, format string, args ...any) ([]T, error) {
	rows := []T{} // JSON has no null for it
	if err := q.Scan(ctx, &rows); err != nil {
		return nil, fmt.Errorf("read "+format+": %w", append(args, err)...)
	}
	return rows, nil
}

// page bounds a list, by default to MaxPage rows.
func page(q *bun.SelectQuery, limit int) *bun.SelectQuery {
	if limit < 1 || limit > MaxPage {
		limit = MaxPage
	}
	return q.Limit(int64(limit))
}
