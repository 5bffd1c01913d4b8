package testdb

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/internal/postgres"
)

// poolSize is small: many tests run at once.
const poolSize = 8

// Schema is what a database is made with.
type Schema interface {
	// Hash is the same for the same schema, and different for another.
	Hash() string
	// Up brings an empty database up to it.
	Up(ctx context.Context, pool *pgxpool.Pool) error
}

// New is a fresh database with the schema, as a pool that is closed, and the
// database dropped, when the test ends.
func New(tb testing.TB, s Schema) *pgxpool.Pool {
	tb.Helper()
	pool, err := postgres.Open(context.Background(), postgres.Config{URL: URL(tb, s), MaxConns: poolSize})
	if err != nil {
		tb.Fatalf("test database: %v", err)
	}
	tb.Cleanup(pool.Close)
	return pool
}

// URL is a fresh database with the schema, as a URL that any process can use. It
// is dropped, and whoever is still connected cut off, when the test ends.
func URL(tb testing.TB, s Schema) string {
	tb.Helper()
	server := join(tb)
	name, err := server.create(context.Background(), s)
	if err != nil {
		tb.Fatalf("test database: %v", err)
	}
	location := server.url(name)
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("the database is kept for %v: %s (if nothing answers there, start it with: tally psql --data %s)", keepFor, location, server.dir)
			return
		}
		if err := server.drop(context.Background(), name); err != nil {
			tb.Errorf("drop the test database: %v", err)
		}
	})
	return location
}
