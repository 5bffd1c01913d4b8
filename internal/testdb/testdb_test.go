package testdb_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/testdb"
)

// counted is a schema that counts how often it is made.
type counted struct {
	hash string
	made *atomic.Int32
}

func (c counted) Hash() string { return c.hash }

func (c counted) Up(ctx context.Context, pool *pgxpool.Pool) error {
	c.made.Add(1)
	_, err := pool.Exec(ctx, "CREATE TABLE letters (letter TEXT)")
	return err
}

func TestEachTestHasItsOwnDatabase(t *testing.T) {
	t.Parallel()
	schema := counted{"testdb_test_letters", new(atomic.Int32)}
	for range 3 {
		pool := testdb.New(t, schema)
		var n int
		require.NoError(t, pool.QueryRow(t.Context(), "SELECT count(*) FROM letters").Scan(&n))
		assert.Zero(t, n, "nobody else's rows")
		_, err := pool.Exec(t.Context(), "INSERT INTO letters VALUES ('a')")
		require.NoError(t, err)
	}
	assert.LessOrEqual(t, schema.made.Load(), int32(1), "the schema is made once, and cloned")
}

func TestADatabaseGoesWithItsTest(t *testing.T) {
	t.Parallel()
	stays := testdb.New(t, counted{"testdb_test_letters", new(atomic.Int32)})
	var url string
	t.Run("inner", func(t *testing.T) { url = testdb.URL(t, counted{"testdb_test_letters", new(atomic.Int32)}) })
	config, err := pgx.ParseConfig(url)
	require.NoError(t, err)
	var there bool
	const query = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)"
	require.NoError(t, stays.QueryRow(t.Context(), query, config.Database).Scan(&there))
	assert.False(t, there, config.Database)
}
