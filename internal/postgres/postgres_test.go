package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/internal/testdb"
)

// bare is a database without a schema.
type bare struct{}

func (bare) Hash() string                            { return "bare" }
func (bare) Up(context.Context, *pgxpool.Pool) error { return nil }

func TestRetryable(t *testing.T) {
	t.Parallel()
	for state, want := range map[string]bool{
		"08006": true, "40001": true, "40P01": true, "53300": true, "53100": true, "57P01": true, "57P03": true, "55P03": true, "25006": true,
		"57014": false, "23505": false, "42P01": false, "28P01": false, "3D000": false, "22P02": false,
	} {
		err := fmt.Errorf("load: %w", &pgconn.PgError{Code: state})
		assert.Equal(t, want, postgres.Retryable(err), state)
		assert.Equal(t, state, postgres.State(err))
	}
	for err, want := range map[error]bool{
		io.ErrUnexpectedEOF:                                       true,
		&net.OpError{Op: "dial", Err: io.EOF}:                     true,
		pgconn.ErrConnClosed:                                      true,
		&fs.PathError{Op: "open", Path: "a", Err: syscall.EACCES}: false,
		context.Canceled:                                          false,
		errors.New("a bug"):                                       false,
		fmt.Errorf("x: %w", context.Canceled):                     false,
		fmt.Errorf("copy: %w", net.ErrClosed):                     true,
		&net.DNSError{Err: "no", IsTimeout: true}:                 true,
		fmt.Errorf("list: %w", bucket.ErrUnavailable):             true,
		fmt.Errorf("%w: %w", bucket.ErrUnavailable, io.EOF):       true,
	} {
		assert.Equal(t, want, postgres.Retryable(err), err)
	}
	assert.False(t, postgres.Retryable(nil))
}

func TestTroubleOf(t *testing.T) {
	t.Parallel()
	const work, shared, server = postgres.ScopeWork, postgres.ScopeShared, postgres.ScopeServer
	for state, want := range map[string]struct {
		name    string
		scope   postgres.Scope
		passing bool
	}{
		"08006": {"connection_lost", shared, true}, "57P01": {"connection_lost", shared, true}, "57P02": {"connection_lost", shared, true},
		"57P05": {"connection_lost", shared, true}, "57P03": {"unavailable", server, true}, "08001": {"unavailable", server, true},
		"08004": {"unavailable", server, true}, "57P04": {"unavailable", server, true}, "25006": {"read_only", server, true},
		"53300": {"too_many_connections", server, true}, "53100": {"disk_full", shared, true}, "53000": {"disk_full", shared, true},
		"53200": {"out_of_memory", shared, true}, "53400": {"limit_exceeded", work, true},
		"40001": {"conflict", work, true}, "40P01": {"conflict", work, true}, "55P03": {"conflict", work, true},
		"57014": {"timeout", work, false}, "25P03": {"timeout", work, true}, "25P04": {"timeout", work, true},
		"58030": {"io_error", work, true}, "58P01": {"io_error", work, true}, "XX000": {"internal_error", shared, false}, "XX001": {"corrupted", work, false},
	} {
		got, ok := postgres.TroubleOf(fmt.Errorf("copy: %w", &pgconn.PgError{Code: state}))
		require.True(t, ok, state)
		assert.Equal(t, want.name, got.Name, state)
		assert.Equal(t, want.scope, got.Scope, state)
		assert.Equal(t, want.passing, got.Passing, state)
		assert.NotEmpty(t, got.Fix, state)
	}
	for _, state := range []string{"23505", "42P01", "28P01", "3D000", "22P02", "25P02", "P0001"} {
		_, ok := postgres.TroubleOf(&pgconn.PgError{Code: state})
		assert.False(t, ok, state)
	}
	_, err := postgres.Open(t.Context(), postgres.Config{URL: "postgres://u@127.0.0.1:1/x"})
	refused, ok := postgres.TroubleOf(err)
	require.True(t, ok)
	assert.Equal(t, "unavailable", refused.Name)
	lost, ok := postgres.TroubleOf(fmt.Errorf("copy: %w", io.ErrUnexpectedEOF))
	require.True(t, ok)
	assert.Equal(t, "connection_lost", lost.Name)
}

func TestUnreachableIsRetryableAndNamesNoPassword(t *testing.T) {
	t.Parallel()
	_, err := postgres.Open(t.Context(), postgres.Config{URL: "postgres://u:hunter2@127.0.0.1:1/x"})
	require.Error(t, err)
	assert.True(t, postgres.Retryable(err))
	assert.NotContains(t, err.Error(), "hunter2")
}

// bun writes its arguments into the statement: on a pool that prepared every
// text, three hundred look-ups would leave three hundred statements behind.
func TestBunLeavesNoPreparedStatements(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t, bare{})
	pool, err := postgres.Open(t.Context(), postgres.Config{URL: url, MaxConns: 1})
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	db := postgres.Bun(pool)
	for i := range 300 {
		var got int
		require.NoError(t, db.NewSelect().ColumnExpr("?::int", i).Scan(t.Context(), &got))
		require.Equal(t, i, got)
	}
	const prepared = "SELECT count(*) FROM pg_prepared_statements"
	var n int
	require.NoError(t, pool.QueryRow(t.Context(), prepared).Scan(&n))
	assert.Zero(t, n)

	for i := range 300 {
		var got int
		require.NoError(t, pool.QueryRow(t.Context(), "SELECT $1::int", pgx.QueryExecModeCacheStatement, i).Scan(&got))
	}
	require.NoError(t, pool.QueryRow(t.Context(), prepared).Scan(&n))
	assert.Equal(t, 1, n, "a hot look-up prepares itself once a connection")
}

func TestTheURLsOwnSettingsStay(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t, bare{})
	pool, err := postgres.Open(t.Context(), postgres.Config{URL: url + "&application_name=mine"})
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	var name, zone string
	require.NoError(t, pool.QueryRow(t.Context(), "SELECT current_setting('application_name'), current_setting('timezone')").Scan(&name, &zone))
	assert.Equal(t, "mine", name)
	assert.Equal(t, "UTC", zone)
}

// Timeouts of a database end long loads; those of the URL are the operator's choice for Tally.
func TestOnlyTimeoutsOfTheURLApply(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t, bare{})
	pool, err := postgres.Open(t.Context(), postgres.Config{URL: url})
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	database := pgx.Identifier{pool.Config().ConnConfig.Database}.Sanitize()
	for _, name := range []string{"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout"} {
		_, err := pool.Exec(t.Context(), "ALTER DATABASE "+database+" SET "+name+" = '50s'")
		require.NoError(t, err)
	}
	for options, want := range map[string]string{"": "0 0 0 0", "&options=-c%20statement_timeout%3D9s": "9s 0 0 0", "&lock_timeout=8s": "0 8s 0 0"} {
		pool, err := postgres.Open(t.Context(), postgres.Config{URL: url + options})
		require.NoError(t, err)
		t.Cleanup(pool.Close)
		var got string
		require.NoError(t, pool.QueryRow(t.Context(), `SELECT concat_ws(' ', current_setting('statement_timeout'), current_setting('lock_timeout'),
			current_setting('idle_in_transaction_session_timeout'), current_setting('idle_session_timeout'))`).Scan(&got))
		assert.Equal(t, want, got, options)
	}
}

// The pool's settings in the URL hold; without one the size is the documented default.
func TestPoolSettingsInTheURL(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t, bare{})
	for suffix, want := range map[string]int32{"": postgres.DefaultMaxConns, "&pool_max_conns=3&pool_min_conns=9&pool_max_conn_lifetime=7m": 3} {
		pool, err := postgres.Open(t.Context(), postgres.Config{URL: url + suffix})
		require.NoError(t, err)
		t.Cleanup(pool.Close)
		assert.Equal(t, want, pool.Config().MaxConns, suffix)
		assert.LessOrEqual(t, pool.Config().MinConns, want)
		if suffix != "" {
			assert.Equal(t, 7*time.Minute, pool.Config().MaxConnLifetime)
		}
	}
	_, err := postgres.MaxConns(url + "&pool_max_conns=many")
	assert.Error(t, err)
}

// The server cancels a long statement, unless the URL has a timeout of its own.
func TestStatementTimeout(t *testing.T) {
	t.Parallel()
	url := testdb.URL(t, bare{})
	for suffix, want := range map[string]string{"": "150ms", "&options=-c%20statement_timeout%3D2s": "2s"} {
		pool, err := postgres.Open(t.Context(), postgres.Config{URL: url + suffix, StatementTimeout: 150 * time.Millisecond})
		require.NoError(t, err)
		t.Cleanup(pool.Close)
		var got string
		require.NoError(t, pool.QueryRow(t.Context(), "SHOW statement_timeout").Scan(&got))
		assert.Equal(t, want, got, suffix)
		if suffix == "" {
			_, err = pool.Exec(t.Context(), "SELECT pg_sleep(5)")
			assert.Equal(t, "57014", postgres.State(err))
		}
	}
}
