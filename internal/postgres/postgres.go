// Package postgres opens connection pools, which River, bun and the hot look-ups share,
// and decides which errors are worth a retry.
//
// A pool's default query mode is exec: each statement is sent unnamed, so that
// bun, which writes its arguments into the statement's text, does not fill the
// server with one prepared statement for each argument. A hot look-up that binds
// $1 asks for a prepared statement itself, with [Prepared] as its first argument.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"go.opentelemetry.io/otel/trace"
)

const (
	// DefaultMaxConns is the number of connections without pool_max_conns in the URL.
	DefaultMaxConns       = 20
	defaultConnectTimeout = 10 * time.Second
)

// Config says how to reach a database. Its zero value, but for URL, works.
type Config struct {
	// URL is a connection URL or a keyword/value string, as libpq takes them.
	URL string
	// MaxConns bounds the pool; 0 means [MaxConns] of the URL.
	MaxConns int32
	// StatementTimeout has the server cancel longer statements, unless the URL has a timeout
	// of its own; 0 means none. A pooler ignores it: its servers' sessions are
	// shared with other clients.
	StatementTimeout time.Duration
	// ApplicationName is shown in pg_stat_activity; empty means "tally".
	ApplicationName string
	// Tracer makes a span of each statement that is sent within another span; nil means
	// none. Spans hold the statement and not its arguments.
	Tracer trace.TracerProvider
}

// Open makes a pool and reaches the database once, so that a wrong URL or
// password is known now and not at the first query. The URL's password is in no
// error.
func Open(ctx context.Context, c Config) (*pgxpool.Pool, error) {
	config, err := c.parse()
	if err != nil {
		return nil, err
	}
	pool, err := c.open(ctx, config)
	if err != nil {
		return nil, err
	}
	pooled, err := Pooled(ctx, pool)
	if err == nil && !pooled {
		return pool, nil
	}
	pool.Close()
	if err != nil {
		return nil, fmt.Errorf("reach the database: %w", err)
	}
	config = config.Copy()
	config.ConnConfig.StatementCacheCapacity = 0
	return c.open(ctx, config)
}

// Pooled reports whether the connections of a pool lead through a pooler, such as pgbouncer, whose servers'
// sessions are shared: the server has another process id than the one that the client was told.
func Pooled(ctx context.Context, pool *pgxpool.Pool) (pooled bool, err error) {
	err = pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
		return conn.QueryRow(ctx, "SELECT pg_backend_pid() <> $1::bigint", int64(conn.Conn().PgConn().PID())).Scan(&pooled)
	})
	return pooled, err
}

// ErrPooled reports that a session is needed and that the connections lead through a pooler.
var ErrPooled = errors.New("the database URL leads through a pooler, which keeps neither locks nor temporary tables nor notifications of a session: " +
	"name a direct way in DATABASE_DIRECT_URL")

// NeedSessions returns [ErrPooled] if the connections of a pool lead through a pooler.
func NeedSessions(ctx context.Context, pool *pgxpool.Pool) error {
	pooled, err := Pooled(ctx, pool)
	if err == nil && pooled {
		err = ErrPooled
	}
	return err
}

// Prepared is the mode of a hot look-up: a prepared statement for each connection. Through a pooler, it is
// a statement whose types are known from the last time, since older poolers lose prepared ones.
func Prepared(pool *pgxpool.Pool) pgx.QueryExecMode {
	if pool.Config().ConnConfig.StatementCacheCapacity == 0 {
		return pgx.QueryExecModeCacheDescribe
	}
	return pgx.QueryExecModeCacheStatement
}

// OpenEach makes a pool for each host of the URL, by host and port, each once, without reaching it. Each pool has
// the URL's number of connections. What the URL says of the servers' roles is ignored.
func OpenEach(ctx context.Context, c Config) (names []string, pools []*pgxpool.Pool, err error) {
	all, err := c.parse()
	if err != nil {
		return nil, nil, err
	}
	hosts := []*pgconn.FallbackConfig{{Host: all.ConnConfig.Host, Port: all.ConnConfig.Port, TLSConfig: all.ConnConfig.TLSConfig}}
	byName := map[string][]*pgconn.FallbackConfig{} // with and without TLS, where the URL allows both
	for _, h := range append(hosts, all.ConnConfig.Fallbacks...) {
		name := net.JoinHostPort(h.Host, strconv.Itoa(int(h.Port)))
		if byName[name] == nil {
			names = append(names, name)
		}
		byName[name] = append(byName[name], h)
	}
	for _, name := range names {
		config, ways := all.Copy(), byName[name]
		conn := &config.ConnConfig.Config
		conn.Host, conn.Port, conn.TLSConfig, conn.Fallbacks = ways[0].Host, ways[0].Port, ways[0].TLSConfig, ways[1:]
		conn.ValidateConnect = nil
		pool, err := c.open(ctx, config)
		if err != nil {
			return nil, nil, err
		}
		pools = append(pools, pool)
	}
	return names, pools, nil
}

func (c Config) parse() (config *pgxpool.Config, err error) {
	if config, err = pgxpool.ParseConfig(c.URL); err != nil {
		return nil, fmt.Errorf("database URL: %w", err)
	}
	if config.MaxConns = c.MaxConns; c.MaxConns == 0 {
		if config.MaxConns, err = MaxConns(c.URL); err != nil {
			return nil, err
		}
	}
	return config, nil
}

// open makes a pool, which connects when it is used.
func (c Config) open(ctx context.Context, config *pgxpool.Config) (*pgxpool.Pool, error) {
	config.MinConns, config.MinIdleConns = min(config.MinConns, config.MaxConns), min(config.MinIdleConns, config.MaxConns)
	conn := config.ConnConfig
	if c.Tracer != nil {
		conn.Tracer = otelpgx.NewTracer(otelpgx.WithTracerProvider(c.Tracer))
	}
	conn.DefaultQueryExecMode = pgx.QueryExecModeExec
	if conn.ConnectTimeout == 0 {
		conn.ConnectTimeout = defaultConnectTimeout
	}
	setDefault(conn.RuntimeParams, "application_name", c.ApplicationName, "tally")
	setDefault(conn.RuntimeParams, "timezone", "", "UTC")
	// Bun quotes the texts that it writes into a statement by the rules of this setting.
	conn.RuntimeParams["standard_conforming_strings"] = "on"
	conn.AfterConnect = resetTimeouts
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		timesInUTC(conn)
		return limitStatements(ctx, conn, c.StatementTimeout)
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connection pool: %w", err)
	}
	return pool, nil
}

// timesInUTC has the connection read points in time in UTC; pgx by itself reads them in
// the zone of the process.
func timesInUTC(conn *pgx.Conn) {
	conn.TypeMap().RegisterType(&pgtype.Type{Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC}})
}

// limitStatements sets the timeout of a session. Where the process id, for which poolers use all 32 bits, is not the one that the
// connection was given, the session is a pooler's.
func limitStatements(ctx context.Context, conn *pgx.Conn, limit time.Duration) error {
	if limit == 0 {
		return nil
	}
	_, err := conn.Exec(ctx, `SELECT set_config('statement_timeout', $1, false)
WHERE pg_backend_pid() = $2::bigint AND current_setting('statement_timeout') = '0'`,
		strconv.FormatInt(limit.Milliseconds(), 10), int64(conn.PgConn().PID()))
	if err != nil {
		return fmt.Errorf("limit the time of statements: %w", err)
	}
	return nil
}

// MaxConns is pool_max_conns of a URL, or else [DefaultMaxConns]: pgx's own default depends on
// the machine's cores.
func MaxConns(url string) (int32, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return 0, fmt.Errorf("database URL: %w", err)
	}
	// Only the pool's parser takes its parameters out of those for the server.
	parameters, err := pgx.ParseConfig(url)
	if err != nil {
		return 0, fmt.Errorf("database URL: %w", err)
	}
	if _, ok := parameters.RuntimeParams["pool_max_conns"]; !ok {
		return DefaultMaxConns, nil
	}
	return config.MaxConns, nil
}

// setDefault leaves a parameter that the URL already sets.
func setDefault(params map[string]string, name, value, fallback string) {
	if params[name] != "" {
		return
	}
	if value == "" {
		value = fallback
	}
	params[name] = value
}

// Bun is bun over the same pool. It holds no connection of its own between
// statements; closing it does not close the pool.
func Bun(pool *pgxpool.Pool) *bun.DB {
	return bun.NewDB(stdlib.OpenDBFromPool(pool), pgdialect.New())
}
