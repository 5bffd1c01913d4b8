// Package testdb gives each test a PostgreSQL database of its own, in one call.
//
// All test processes of a machine and user share one embedded server per version
// of PostgreSQL; the last one to leave stops it. A database is cloned from a
// template that is keyed by the hash of its schema, so the schema is made once
// and not for each test. A database is dropped at the end of its test, and kept,
// its URL logged, when the test failed; what is left over is swept an hour later.
//
// The environment variable TALLY_TEST_POSTGRES names a folder with the programs
// of another PostgreSQL to test on. The server runs with fsync off: it holds
// nothing that is worth a disk's time.
package testdb

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/internal/embedded"
	"github.com/opentax/tally/internal/postgres"
)

const (
	programsVariable = "TALLY_TEST_POSTGRES"
	prefix           = "test_"
	timeLayout       = "20060102150405"
	keepFor          = time.Hour // databases of failed tests, to be looked at
	poolSize         = 8
	// templateLock is an advisory lock: one process makes a template at a time.
	templateLock = 0x74616c6c79_74
)

// Schema is what a database is made with.
type Schema interface {
	// Hash is the same for the same schema.
	Hash() string
	// Up brings an empty database up to it.
	Up(ctx context.Context, pool *pgxpool.Pool) error
}

// New is a fresh database with the schema, as a pool that is closed and dropped
// when the test ends.
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
// is dropped when the test ends.
func URL(tb testing.TB, s Schema) string {
	tb.Helper()
	server := join(tb)
	name, err := server.create(s)
	if err != nil {
		tb.Fatalf("test database: %v", err)
	}
	location := server.url(name)
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("the database is kept for %v: %s", keepFor, location)
			return
		}
		if err := server.drop(name); err != nil {
			tb.Errorf("drop the test database: %v", err)
		}
	})
	return location
}

// shared is the server that the tests of this process use at this moment.
type shared struct {
	mu     sync.Mutex
	users  int
	server *embedded.Server
	admin  *pgxpool.Pool
}

// process is shared by all tests of the process: a test that starts while
// another one runs finds its server.
var process shared

// join starts the shared server or joins it, and leaves when the test ends.
func join(tb testing.TB) *shared {
	tb.Helper()
	if err := process.enter(); err != nil {
		tb.Fatalf("test server: %v", err)
	}
	tb.Cleanup(func() {
		if err := process.leave(); err != nil {
			tb.Errorf("leave the test server: %v", err)
		}
	})
	return &process
}

func (s *shared) enter() (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users == 0 {
		ctx := context.Background()
		if s.server, err = embedded.Start(ctx, serverConfig()); err != nil {
			return err
		}
		config := postgres.Config{URL: s.server.URL(), MaxConns: 4, ApplicationName: "tally-testdb"}
		if s.admin, err = postgres.Open(ctx, config); err != nil {
			return err
		}
		if err := s.sweep(ctx); err != nil {
			return err
		}
	}
	s.users++
	return nil
}

func (s *shared) leave() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users--; s.users > 0 {
		return nil
	}
	s.admin.Close()
	return s.server.Close()
}

func serverConfig() embedded.Config {
	programs := os.Getenv(programsVariable)
	name := fmt.Sprintf("tally-test-%d", os.Geteuid())
	if programs != "" {
		name += "-" + strings.Map(onlyPlain, filepath.Clean(programs))
	}
	return embedded.Config{
		Dir: filepath.Join(os.TempDir(), name), BinDir: programs,
		Settings: map[string]string{
			"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off",
			"max_connections": "400", "max_locks_per_transaction": "256",
		},
	}
}

func onlyPlain(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
		return r
	}
	return '_'
}

func (s *shared) url(database string) string {
	u, err := url.Parse(s.server.URL())
	if err != nil {
		panic(err) // the embedded server made it
	}
	u.Path = "/" + database
	return u.String()
}

func (s *shared) create(schema Schema) (string, error) {
	ctx := context.Background()
	template, err := s.template(ctx, schema)
	if err != nil {
		return "", err
	}
	name := prefix + time.Now().UTC().Format(timeLayout) + "_" + strings.ToLower(rand.Text()[:10])
	return name, s.exec(ctx, "CREATE DATABASE %s TEMPLATE %s", name, template)
}

func (s *shared) drop(name string) error {
	return s.exec(context.Background(), "DROP DATABASE IF EXISTS %s WITH (FORCE)", name)
}

// template makes the schema's template where it is missing. It counts as made
// when it is marked as one, which is the last step; what was left half made is
// made anew.
func (s *shared) template(ctx context.Context, schema Schema) (string, error) {
	name := "schema_" + schema.Hash()
	conn, err := s.admin.Acquire(ctx)
	if err != nil {
		return "", err
	}
	defer conn.Release()
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock($1)", int64(templateLock)); err != nil {
		return "", err
	}
	defer func() {
		if _, err := conn.Exec(ctx, "SELECT pg_advisory_unlock($1)", int64(templateLock)); err != nil {
			panic(err) // the connection is gone, and the lock with it
		}
	}()
	var made bool
	err = conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1 AND datistemplate)", name).Scan(&made)
	if err != nil || made {
		return name, err
	}
	return name, s.makeTemplate(ctx, name, schema)
}

func (s *shared) makeTemplate(ctx context.Context, name string, schema Schema) error {
	if err := s.exec(ctx, "DROP DATABASE IF EXISTS %s WITH (FORCE)", name); err != nil {
		return err
	}
	if err := s.exec(ctx, "CREATE DATABASE %s", name); err != nil {
		return err
	}
	pool, err := postgres.Open(ctx, postgres.Config{URL: s.url(name), MaxConns: 4})
	if err != nil {
		return err
	}
	err = schema.Up(ctx, pool)
	pool.Close()
	if err != nil {
		return fmt.Errorf("make the schema: %w", err)
	}
	return s.exec(ctx, "ALTER DATABASE %s IS_TEMPLATE true", name)
}

// sweep drops what tests have left behind.
func (s *shared) sweep(ctx context.Context) error {
	oldest := prefix + time.Now().UTC().Add(-keepFor).Format(timeLayout)
	rows, err := s.admin.Query(ctx, "SELECT datname FROM pg_database WHERE datname LIKE 'test\\_%' AND datname < $1", oldest)
	if err != nil {
		return err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := s.drop(name); err != nil {
			return err
		}
	}
	return nil
}

// exec runs a statement about databases, whose names cannot be bound.
func (s *shared) exec(ctx context.Context, statement string, names ...string) error {
	var quoted []any
	for _, name := range names {
		quoted = append(quoted, pgx.Identifier{name}.Sanitize())
	}
	if _, err := s.admin.Exec(ctx, fmt.Sprintf(statement, quoted...)); err != nil {
		return fmt.Errorf(statement+": %w", append(quoted, err)...)
	}
	return nil
}
