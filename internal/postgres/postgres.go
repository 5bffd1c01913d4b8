// Package postgres opens the one connection pool that everything shares (River,
// bun and the hot look-ups), and decides which errors are worth a retry.
//
// The pool's default query mode is exec: each statement is sent unnamed, so that
// bun, which writes its arguments into the statement's text, does not fill the
// server with one prepared statement for each argument. A hot look-up that binds
// $1 asks for a prepared statement itself, with [pgx.QueryExecModeCacheStatement]
// as its first argument.
package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"go.opentelemetry.io/otel/trace"
)

const (
	defaultMaxConns       = 16
	defaultConnectTimeout = 10 * time.Second
)

// Config says how to reach a database. Its zero value, but for URL, works.
type Config struct {
	// URL is a connection URL or a keyword/value string, as libpq takes them.
	URL string
	// MaxConns bounds the pool; 0 means 16. A run holds three connections: its
	// lock, its load and its log.
	MaxConns int32
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
	config, err := pgxpool.ParseConfig(c.URL)
	if err != nil {
		return nil, fmt.Errorf("database URL: %w", err)
	}
	config.MaxConns = defaultMaxConns
	if c.MaxConns > 0 {
		config.MaxConns = c.MaxConns
	}
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
	config.AfterConnect = timesInUTC

	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connection pool: %w", err)
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("reach the database: %w", err)
	}
	return pool, nil
}

// timesInUTC has the connection read points in time in UTC; pgx by itself reads them in
// the zone of the process.
func timesInUTC(_ context.Context, conn *pgx.Conn) error {
	conn.TypeMap().RegisterType(&pgtype.Type{Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC}})
	return nil
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
