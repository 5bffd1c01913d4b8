package testdb

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/internal/postgres"
)

// poolSize is small, since many tests run at once, and enough for a service with all its work.
const poolSize = 12

// Patience is how long a test waits for what must happen sooner or later. It fails a test of a
// program that hangs, and none on a machine under load.
const Patience = time.Minute

// Schema creates the schema of test databases.
type Schema interface {
	// Hash identifies the schema: equal schemas have equal hashes.
	Hash() string
	// Up creates the schema in an empty database.
	Up(ctx context.Context, pool *pgxpool.Pool) error
}

// New creates a database with the schema and returns a pool for it. When the test ends,
// the pool is closed and the database dropped.
func New(tb testing.TB, s Schema) *pgxpool.Pool {
	tb.Helper()
	pool, err := postgres.Open(context.Background(), postgres.Config{URL: URL(tb, s), MaxConns: poolSize})
	if err != nil {
		tb.Fatalf("test database: %v", err)
	}
	tb.Cleanup(pool.Close)
	return pool
}

// Open is New for an example, which has no testing.TB. Release closes the pool and drops
// the database.
func Open(ctx context.Context, s Schema) (pool *pgxpool.Pool, release func(), err error) {
	if err := process.acquire(ctx); err != nil {
		return nil, nil, err
	}
	name, err := process.create(ctx, s)
	if err == nil {
		pool, err = postgres.Open(ctx, postgres.Config{URL: process.url(name), MaxConns: poolSize})
	}
	if err != nil {
		return nil, nil, errors.Join(err, process.release())
	}
	return pool, func() {
		pool.Close()
		if err := errors.Join(process.drop(ctx, name), process.release()); err != nil {
			panic(err)
		}
	}, nil
}

// URL creates a database with the schema and returns its URL, which any process can use.
// When the test ends, clients are disconnected and the database is dropped.
func URL(tb testing.TB, s Schema) string {
	tb.Helper()
	server := use(tb)
	name, err := server.create(context.Background(), s)
	if err != nil {
		tb.Fatalf("test database: %v", err)
	}
	location := server.url(name)
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("the database is kept for %v: %s (if the server is not running, start it with: tally psql --data %s)", keepFailed, location, server.dir)
			return
		}
		if err := server.drop(context.Background(), name); err != nil {
			tb.Errorf("drop the test database: %v", err)
		}
	})
	return location
}
