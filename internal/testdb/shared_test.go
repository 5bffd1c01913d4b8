package testdb

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// numbered is a schema of a single test, which can fail half way.
type numbered struct {
	hash string
	fail *atomic.Bool
	made *atomic.Int32
}

func uniqueSchema(t *testing.T) (numbered, *shared) {
	t.Helper()
	n := numbered{"testdb_" + strings.ToLower(rand.Text()), new(atomic.Bool), new(atomic.Int32)}
	server := use(t)
	t.Cleanup(func() {
		template := templatePrefix + n.hash
		assert.NoError(t, server.exec(context.Background(), "ALTER DATABASE %s IS_TEMPLATE false", template))
		assert.NoError(t, server.drop(context.Background(), template))
	})
	return n, server
}

func (n numbered) Hash() string { return n.hash }

func (n numbered) Up(ctx context.Context, pool *pgxpool.Pool) error {
	n.made.Add(1)
	if _, err := pool.Exec(ctx, "CREATE TABLE numbers (n INT)"); err != nil {
		return err
	}
	if n.fail.Load() {
		return errors.New("half way")
	}
	return nil
}

func TestTemplateIsCreatedOnce(t *testing.T) {
	t.Parallel()
	schema, server := uniqueSchema(t)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			name, err := server.create(t.Context(), schema)
			if assert.NoError(t, err) {
				assert.NoError(t, server.drop(t.Context(), name))
			}
		})
	}
	all.Wait()
	assert.EqualValues(t, 1, schema.made.Load())
}

func TestIncompleteTemplateIsRecreated(t *testing.T) {
	t.Parallel()
	schema, server := uniqueSchema(t)
	schema.fail.Store(true)
	_, err := server.create(t.Context(), schema)
	require.ErrorContains(t, err, "half way")
	schema.fail.Store(false)
	name, err := server.create(t.Context(), schema)
	require.NoError(t, err)
	assert.EqualValues(t, 2, schema.made.Load(), "an incomplete schema is not cloned")
	require.NoError(t, server.drop(t.Context(), name))
}

func TestSweepDropsOldDatabases(t *testing.T) {
	t.Parallel()
	SkipOnCluster(t, "its files cannot be made older")
	schema, server := uniqueSchema(t)
	kept, err := server.create(t.Context(), schema)
	require.NoError(t, err)
	stamp := func(age time.Duration) string {
		return databasePrefix + time.Now().UTC().Add(-age).Format(timeLayout) + "_" + strings.ToLower(rand.Text()[:10])
	}
	recent, old := stamp(keepFailed-time.Minute), stamp(keepFailed+time.Minute)
	other, _ := uniqueSchema(t) // its template is aged below
	_, err = server.create(t.Context(), other)
	require.NoError(t, err)
	server.age(t, templatePrefix+other.hash, keepTemplates+time.Minute)
	for _, name := range []string{recent, old} {
		require.NoError(t, server.exec(t.Context(), "CREATE DATABASE %s", name))
	}

	require.NoError(t, server.sweep(t.Context()))
	left, err := server.names(t.Context(), "SELECT datname FROM pg_database")
	require.NoError(t, err)
	assert.Subset(t, left, []string{kept, recent, templatePrefix + schema.hash})
	assert.NotContains(t, left, old)
	assert.NotContains(t, left, templatePrefix+other.hash)
	assert.NoError(t, server.drop(t.Context(), recent))
	assert.NoError(t, server.drop(t.Context(), kept))
	_, err = server.create(t.Context(), other)
	assert.NoError(t, err, "the template is created again")
}

// age makes a database look older than it is.
func (s *shared) age(t *testing.T, database string, by time.Duration) {
	t.Helper()
	path, err := s.names(t.Context(), "SELECT 'base/' || oid || '/PG_VERSION' FROM pg_database WHERE datname = $1", database)
	require.NoError(t, err)
	require.Len(t, path, 1)
	then := time.Now().Add(-by)
	require.NoError(t, os.Chtimes(filepath.Join(s.dir, "pgdata", path[0]), then, then))
}

func TestServerIsSharedAndReleased(t *testing.T) {
	t.Parallel()
	SkipOnCluster(t, "the tests start no server there")
	var own shared // stands for another process
	require.NoError(t, own.acquire(t.Context()))
	require.NoError(t, own.acquire(t.Context()))
	require.NoError(t, own.release())
	_, err := own.names(t.Context(), "SELECT datname FROM pg_database")
	require.NoError(t, err, "another test still uses it")
	server := own.server
	mine := use(t)
	assert.Equal(t, mine.server.PID(), server.PID())
	require.NoError(t, own.release())
	assert.NotZero(t, mine.server.PID(), "this test still uses it")
}
