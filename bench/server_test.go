package bench

import (
	"context"
	_ "embed"
	"flag"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/internal/sqlfile"
	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/migrations"
)

//go:embed yardstick.sql
var yardstickSQL string

var syncs = flag.Bool("sync", true, "whether the server syncs its writes; without, the figures are not those of production")

// server is a server with PostgreSQL's default settings, in particular with crash-safe
// commits, so that its figures are those of production.
type server struct {
	*testdb.Server
	databases int
}

func newServer(b *testing.B) *server {
	b.Helper()
	return &server{Server: testdb.Own(b, map[string]string{
		"fsync": strconv.FormatBool(*syncs), "full_page_writes": "on", "synchronous_commit": "on", "wal_init_zero": "on", "autovacuum": "off", // its schedule would favor later variants
	})}
}

// database creates an empty database. Drop it after use to save disk space.
func (s *server) database(b *testing.B) *pgxpool.Pool {
	b.Helper()
	admin, err := pgx.Connect(b.Context(), s.URL())
	if err != nil {
		b.Fatal(err)
	}
	defer admin.Close(b.Context())
	s.databases++
	name := fmt.Sprint("bench", s.databases)
	if _, err := admin.Exec(b.Context(), "CREATE DATABASE "+name); err != nil {
		b.Fatal(err)
	}
	u, err := url.Parse(s.URL())
	if err != nil {
		b.Fatal(err)
	}
	u.Path = "/" + name
	pool, err := postgres.Open(b.Context(), postgres.Config{URL: u.String()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(pool.Close)
	return pool
}

// drop drops a database before the benchmark ends.
func (s *server) drop(b *testing.B, pool *pgxpool.Pool) {
	b.Helper()
	name := pool.Config().ConnConfig.Database
	pool.Close()
	admin, err := pgx.Connect(b.Context(), s.URL())
	if err == nil {
		_, err = admin.Exec(b.Context(), "DROP DATABASE "+name+" WITH (FORCE)")
		_ = admin.Close(b.Context())
	}
	if err != nil {
		b.Fatal(err)
	}
}

// tally creates an empty database with Tally's schema, and a run to load files in.
func (s *server) tally(b *testing.B) (*pgxpool.Pool, int64) {
	b.Helper()
	pool := s.database(b)
	if _, err := migrations.Up(b.Context(), pool); err != nil {
		b.Fatal(err)
	}
	return pool, newRun(b, pool)
}

// loaded creates a database with n rows of a generated file, vacuumed and settled.
func (s *server) loaded(b *testing.B, n int64) (*pgxpool.Pool, int64) {
	b.Helper()
	pool, runID := s.tally(b)
	loadFile(b, pool, runID, dirtyFile(b, n, 1, n/10))
	exec(b, pool, "VACUUM (ANALYZE)")
	settle(b, pool)
	return pool, runID
}

// yardstick creates an empty database with the required schema.
func (s *server) yardstick(b *testing.B) *pgxpool.Pool {
	b.Helper()
	pool := s.database(b)
	exec(b, pool, sqlfile.Parse(yardstickSQL).Get("table"))
	return pool
}

func exec(b *testing.B, pool *pgxpool.Pool, sql string) {
	b.Helper()
	if _, err := pool.Exec(b.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		b.Fatal(err)
	}
}

// settle writes a checkpoint, so that later measurements do not include writes of
// earlier work.
func settle(b *testing.B, pool *pgxpool.Pool) {
	b.Helper()
	exec(b, pool, "CHECKPOINT")
}

// copyFile copies a file to the server, like psql's \copy.
func copyFile(ctx context.Context, pool *pgxpool.Pool, sql, path string) (rows int64, err error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Release()
	tag, err := conn.Conn().PgConn().CopyFrom(ctx, file, sql)
	return tag.RowsAffected(), err
}

// timeYardstick times a COPY of cleaned rows into the required schema, and checks their
// number.
func timeYardstick(b *testing.B, pool *pgxpool.Pool, clean string, rows int64) time.Duration {
	b.Helper()
	settle(b, pool)
	began := time.Now()
	n, err := copyFile(b.Context(), pool, sqlfile.Parse(yardstickSQL).Get("copy"), clean)
	took := time.Since(began)
	if err != nil || n != rows {
		b.Fatalf("the yardstick copied %d rows of %d: %v", n, rows, err)
	}
	return took
}

// timeScript times the SQL script, and compares its sums with Tally's.
func timeScript(b *testing.B, pool, tally *pgxpool.Pool, dirty string) time.Duration {
	b.Helper()
	script := sqlfile.Parse(yardstickSQL)
	exec(b, pool, script.Get("stage"))
	settle(b, pool)
	began := time.Now()
	_, err := copyFile(b.Context(), pool, script.Get("copy_stage"), dirty)
	if err == nil {
		_, err = pool.Exec(b.Context(), script.Get("script"), pgx.QueryExecModeSimpleProtocol)
	}
	took := time.Since(began)
	if err != nil {
		b.Fatal(err)
	}
	const sums = "SELECT count(*)::text || ' users, ' || sum(total_transactions) || ' rows, ' || trim_scale(sum(total_amount)) FROM user_summary"
	var got, want string
	if err := pool.QueryRow(b.Context(), sums).Scan(&got); err != nil {
		b.Fatal(err)
	}
	if err := tally.QueryRow(b.Context(), sums).Scan(&want); err != nil {
		b.Fatal(err)
	}
	if got != want {
		b.Fatalf("the script has %s, Tally %s", got, want)
	}
	return took
}

// cleanFile writes the loaded rows of a file to a CSV file, in their original order.
func cleanFile(b *testing.B, pool *pgxpool.Pool, fileID int64) string {
	b.Helper()
	file, err := os.Create(b.TempDir() + "/clean.csv")
	if err != nil {
		b.Fatal(err)
	}
	conn, err := pool.Acquire(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Release()
	_, err = conn.Conn().PgConn().CopyTo(b.Context(), file, fmt.Sprintf(`COPY (SELECT transaction_id, user_id, amount, transaction_date
		FROM transactions WHERE file_id = %d ORDER BY line) TO STDOUT (FORMAT csv)`, fileID))
	if err == nil {
		err = file.Close()
	}
	if err != nil {
		b.Fatal(err)
	}
	return file.Name()
}
