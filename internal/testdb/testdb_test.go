package testdb_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/testdb"
)

// failVariable makes TestFails fail.
const failVariable = "TALLY_TEST_FAIL"

// counted is a schema that counts how often it is created.
type counted struct {
	hash string
	made *atomic.Int32
}

func letters() counted { return counted{"testdb_test_letters", new(atomic.Int32)} }

func (c counted) Hash() string { return c.hash }

func (c counted) Up(ctx context.Context, pool *pgxpool.Pool) error {
	c.made.Add(1)
	_, err := pool.Exec(ctx, "CREATE TABLE letters (letter TEXT)")
	return err
}

func TestTestsHaveSeparateDatabases(t *testing.T) {
	t.Parallel()
	schema := letters()
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			pool := testdb.New(t, schema)
			var n int
			assert.NoError(t, pool.QueryRow(t.Context(), "SELECT count(*) FROM letters").Scan(&n))
			assert.Zero(t, n, "no rows of other tests")
			_, err := pool.Exec(t.Context(), "INSERT INTO letters VALUES ('a')")
			assert.NoError(t, err)
		})
	}
	all.Wait()
	assert.LessOrEqual(t, schema.made.Load(), int32(1), "the schema is created once, and cloned")
}

func TestDatabaseIsDroppedAfterTest(t *testing.T) {
	t.Parallel()
	other := testdb.New(t, letters())
	var url string
	t.Run("inner", func(t *testing.T) { url = testdb.URL(t, letters()) }) //nolint:paralleltest // it must end first
	assert.False(t, exists(t, other, url))
}

func exists(t *testing.T, pool *pgxpool.Pool, url string) (found bool) {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	require.NoError(t, err)
	const query = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)"
	require.NoError(t, pool.QueryRow(t.Context(), query, config.Database).Scan(&found))
	return found
}

// TestFails runs in the other process of TestFailedTestKeepsDatabase.
func TestFails(t *testing.T) {
	t.Parallel()
	testdb.URL(t, letters())
	if os.Getenv(failVariable) != "" {
		t.Fail()
	}
}

func TestFailedTestKeepsDatabase(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t, letters())
	failing := rerun(t, "^TestFails$")
	failing.Env = append(failing.Env, failVariable+"=1")
	out, err := failing.CombinedOutput()
	require.Error(t, err, string(out))
	_, rest, found := strings.Cut(string(out), "kept for 1h0m0s: ")
	require.True(t, found, string(out))
	url, _, _ := strings.Cut(rest, " ")
	assert.True(t, exists(t, pool, url), url)
	config, err := pgx.ParseConfig(url)
	require.NoError(t, err)
	_, err = pool.Exec(t.Context(), "DROP DATABASE "+pgx.Identifier{config.Database}.Sanitize())
	assert.NoError(t, err)
}

func rerun(t *testing.T, tests string) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	require.NoError(t, err)
	command := exec.Command(program, "-test.run", tests)
	command.Env = os.Environ()
	return command
}

// The process has its own temporary folder and therefore its own server, which no other
// process uses.
func TestLastProcessStopsTheServer(t *testing.T) {
	t.Parallel()
	testdb.SkipOnCluster(t, "the tests start no server there")
	dir, err := os.MkdirTemp("", "tally-last-")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o711)) //nolint:gosec // the server's user must traverse it
	last := rerun(t, "^(TestTestsHaveSeparateDatabases|TestDatabaseIsDroppedAfterTest)$")
	last.Env = append(last.Env, "TMPDIR="+dir)
	out, err := last.CombinedOutput()
	require.NoError(t, err, string(out))
	clusters, err := filepath.Glob(filepath.Join(dir, "tally-test-*", "pgdata"))
	require.NoError(t, err)
	require.Len(t, clusters, 1)
	assert.NoFileExists(t, filepath.Join(clusters[0], "postmaster.pid"))
}
