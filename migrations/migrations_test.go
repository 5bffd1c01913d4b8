package migrations_test

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/migrations"
)

// bare is a database without a schema.
type bare struct{}

func (bare) Hash() string                            { return "bare" }
func (bare) Up(context.Context, *pgxpool.Pool) error { return nil }

func scan[T any](t *testing.T, pool *pgxpool.Pool, query string) T {
	t.Helper()
	var v T
	require.NoError(t, pool.QueryRow(t.Context(), query).Scan(&v), query)
	return v
}

func TestConcurrentUp(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t, bare{})
	before, err := migrations.Status(t.Context(), pool)
	require.NoError(t, err)
	require.NotEmpty(t, before)
	for _, m := range before {
		assert.False(t, m.Applied(), m.Name)
	}

	var group sync.WaitGroup
	var mu sync.Mutex
	total := 0
	for range 3 {
		group.Go(func() {
			applied, err := migrations.Up(context.WithoutCancel(t.Context()), pool)
			assert.NoError(t, err)
			mu.Lock()
			defer mu.Unlock()
			total += len(applied)
		})
	}
	group.Wait()
	assert.Equal(t, len(before), total, "each migration is applied once")
	after, err := migrations.Status(t.Context(), pool)
	require.NoError(t, err)
	for _, m := range after {
		assert.True(t, m.Applied(), m.Name)
	}
	files, err := filepath.Glob("*.sql")
	require.NoError(t, err)
	assert.Len(t, files, scan[int](t, pool, "SELECT count(*) FROM bun_migrations"))
	assert.Equal(t, 0, scan[int](t, pool, "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE locktype = 'advisory' AND datname = current_database()"))
}

// A database's owner need not be a superuser, and is none where others run the server.
func TestUpWithoutSuperuser(t *testing.T) {
	t.Parallel()
	testdb.SkipOnCluster(t, "its nodes do not have the role")
	pool := testdb.New(t, bare{})
	role := scan[string](t, pool, "SELECT current_database()") // a name that no other test has
	_, err := pool.Exec(t.Context(), "CREATE ROLE "+role+"; GRANT CREATE ON SCHEMA public TO "+role)
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := pool.Exec(context.WithoutCancel(t.Context()), "DROP OWNED BY "+role+"; DROP ROLE "+role)
		require.NoError(t, err)
	})
	config := pool.Config()
	config.ConnConfig.RuntimeParams["role"] = role
	owner, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	defer owner.Close()
	_, err = migrations.Up(t.Context(), owner)
	require.NoError(t, err)
}

// A process may be killed after a migration's commit and before bun records it. The
// migration must not run again, so its own transaction records it too.
func TestMigrationsRecordThemselves(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.sql")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		number, _, _ := strings.Cut(file, "_")
		assert.Contains(t, string(content), "INSERT INTO bun_migrations (name, group_id, migrated_at) VALUES ('"+number+"',", file)
		assert.True(t, strings.HasSuffix(file, ".tx.up.sql"), file)
	}
	// Nothing is pending in a migrated database.
	pool := testdb.New(t, migrations.Schema{})
	applied, err := migrations.Up(t.Context(), pool)
	require.NoError(t, err)
	assert.Empty(t, applied)
}

// A program that does not have all of a database's migrations would not write what they
// added.
func TestNewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ later, program string }{
		"0999":           {"INSERT INTO bun_migrations (name, group_id, migrated_at) VALUES ('0999', 2, now())", "00"},
		"river_main_099": {"INSERT INTO river_migration (line, version) VALUES ('main', 99)", "river_main_0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := testdb.New(t, migrations.Schema{})
			_, err := pool.Exec(t.Context(), c.later)
			require.NoError(t, err)
			_, statusErr := migrations.Status(t.Context(), pool)
			_, upErr := migrations.Up(t.Context(), pool)
			for _, err := range []error{statusErr, upErr} {
				var newer *migrations.NewerError
				require.ErrorAs(t, err, &newer)
				assert.Equal(t, name, newer.Database)
				assert.Regexp(t, "^"+c.program, newer.Program)
				assert.ErrorContains(t, err, "use the version of Tally that migrated the database")
			}
		})
	}
}

// A migration that locks a table while it reads or writes its rows says for how long.
func TestBlockingMigrationsGiveTheirTime(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.sql")
	require.NoError(t, err)
	blocking := 0
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		if strings.Contains(string(content), "\nLOCK TABLE ") {
			blocking++
			assert.Regexp(t, `(?m)^-- Blocks: .+, about [0-9]+ s per million rows of \w+\.$`, string(content), file)
		}
	}
	assert.Positive(t, blocking)
	status, err := migrations.Status(t.Context(), testdb.New(t, bare{}))
	require.NoError(t, err)
	for _, m := range status {
		if m.Name == "0006_user_months" {
			assert.Equal(t, "loads, about 3 s per million rows of transactions", m.Blocks)
		}
	}
}

func TestUpWithCanceledContextLeavesNoLock(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t, bare{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := migrations.Up(ctx, pool)
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, 0, scan[int](t, pool, "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE locktype = 'advisory' AND datname = current_database()"))
	_, err = migrations.Up(t.Context(), pool)
	require.NoError(t, err)
}

func TestPartitionsAreCreatedOnDemand(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t, migrations.Schema{})
	assert.True(t, scan[bool](t, pool, "SELECT tally_ensure_partition('2024-02-29')"))
	assert.False(t, scan[bool](t, pool, "SELECT tally_ensure_partition('2024-02-01')"), "one per month")
	assert.Equal(t, "FOR VALUES FROM ('2024-02-01') TO ('2024-03-01')", scan[string](t, pool,
		"SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = 'transactions_2024_02'"))
	assert.Equal(t, 0, scan[int](t, pool, `SELECT count(*) FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid
		WHERE i.inhparent = 'transactions'::regclass AND pg_get_expr(c.relpartbound, c.oid) = 'DEFAULT'`))
}

// A readiness probe calls Status every few seconds, for months.
func TestStatusLeavesNoGoroutine(t *testing.T) { // not parallel: it counts the goroutines of the process
	pool := testdb.New(t, migrations.Schema{})
	probe := func() {
		for range 20 {
			_, err := migrations.Status(t.Context(), pool)
			require.NoError(t, err)
		}
	}
	probe()
	before := runtime.NumGoroutine()
	probe()
	assert.Eventually(t, func() bool { return runtime.NumGoroutine() < before+10 }, testdb.Patience, 10*time.Millisecond)
}

func TestTokensCanOnlyBeRevoked(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t, migrations.Schema{})
	exec := func(sql string) error {
		_, err := pool.Exec(t.Context(), sql)
		return err
	}
	add := func(name, role, hash string) error {
		return exec("INSERT INTO api_tokens (name, role, secret_sha256, created_by) VALUES ('" + name + "', '" + role + "', " + hash + ", 'test')")
	}
	require.NoError(t, add("ann", "reader", "sha256('1')"))
	require.Error(t, add("ann", "reader", "sha256('2')"), "the name is taken")
	require.Error(t, add("bob", "reader", "sha256('1')"), "the secret is taken")
	require.Error(t, add("bob", "admin", "sha256('2')"), "unknown role")
	require.Error(t, add("bob", "reader", "'\\x00'"), "not a SHA-256 hash")
	require.Error(t, add("", "reader", "sha256('2')"), "empty name")

	require.Error(t, exec("UPDATE api_tokens SET role = 'operator'"))
	require.Error(t, exec("UPDATE api_tokens SET revoked_at = now()"), "without revoked_by")
	require.NoError(t, exec("UPDATE api_tokens SET revoked_at = now(), revoked_by = 'test'"))
	require.Error(t, exec("UPDATE api_tokens SET revoked_at = NULL, revoked_by = NULL"))
	require.Error(t, exec("DELETE FROM api_tokens"))
	require.Error(t, exec("TRUNCATE api_tokens"))
	require.NoError(t, add("ann", "operator", "sha256('3')"), "the name of a revoked token can be reused")
}
