// Package migrations contains Tally's schema as numbered SQL files, and migrates a
// database to it and to River's schema.
//
// Each file runs in one transaction, which also records the migration. [Up] holds a
// session-level advisory lock, so processes that start concurrently migrate one after
// the other; PostgreSQL releases the lock of a killed process. Applied migrations are
// skipped.
package migrations

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"github.com/uptrace/bun/migrate"
)

//go:embed *.sql
var files embed.FS

// lockKey identifies the advisory lock of migrations: "tally" in ASCII.
const lockKey int64 = 0x74616c6c79

// A Migration is a migration of Tally's or River's schema.
type Migration struct {
	// Name is the number and title, such as "0001_transactions". River's are named
	// "river_main_006".
	Name string
	// AppliedAt is zero for a pending migration.
	AppliedAt time.Time
}

// Applied reports whether the migration has been applied.
func (m Migration) Applied() bool { return !m.AppliedAt.IsZero() }

// Up applies all pending migrations and returns their names. If a migration fails, the
// preceding ones stay applied, and Up returns them with the error.
func Up(ctx context.Context, pool *pgxpool.Pool) (applied []string, err error) {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("migrate: %w", err)
	}
	defer conn.Release()
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock($1)", lockKey); err != nil {
		return nil, fmt.Errorf("migrate: wait for the lock: %w", err)
	}
	defer func() {
		// Not canceled with ctx: a locked connection must not return to the pool.
		_, unlockErr := conn.Exec(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1)", lockKey)
		if unlockErr != nil {
			err = errors.Join(err, fmt.Errorf("migrate: release the lock: %w", unlockErr))
		}
	}()
	if applied, err = upTally(ctx, pool); err != nil {
		return applied, fmt.Errorf("migrate: %w", err)
	}
	river, err := upRiver(ctx, pool)
	if err != nil {
		return applied, fmt.Errorf("migrate River: %w", err)
	}
	return append(applied, river...), nil
}

func upTally(ctx context.Context, pool *pgxpool.Pool) (applied []string, err error) {
	all := migrate.NewMigrations()
	if err := all.Discover(files); err != nil {
		return nil, err
	}
	db := bun.NewDB(stdlib.OpenDBFromPool(pool), pgdialect.New())
	defer db.Close() //nolint:errcheck // it only stops a goroutine of database/sql, and leaves the pool open
	// Bun's lock is a row that survives a crash, so it is not used. WithUpsert is
	// needed because each migration also records itself.
	migrator := migrate.NewMigrator(db, all, migrate.WithMarkAppliedOnSuccess(true), migrate.WithUpsert(true))
	if err := migrator.Init(ctx); err != nil {
		return nil, fmt.Errorf("create bun's tables: %w", err)
	}
	group, err := migrator.Migrate(ctx)
	for _, m := range group.Migrations {
		applied = append(applied, m.String())
	}
	if err != nil && len(applied) > 0 {
		applied = applied[:len(applied)-1] // the last migration of the group failed
	}
	return applied, err
}

func upRiver(ctx context.Context, pool *pgxpool.Pool) (applied []string, err error) {
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), nil)
	if err != nil {
		return nil, err
	}
	result, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	if err != nil {
		return nil, err
	}
	for _, v := range result.Versions {
		applied = append(applied, riverName(v.Version))
	}
	return applied, nil
}

func riverName(version int) string { return fmt.Sprintf("river_main_%03d", version) }

// Status lists all migrations, applied and pending. It is read-only, and works on an
// empty database.
func Status(ctx context.Context, pool *pgxpool.Pool) ([]Migration, error) {
	all := migrate.NewMigrations()
	river, err := rivermigrate.New(riverpgxv5.New(pool), nil)
	if err := errors.Join(err, all.Discover(files)); err != nil {
		return nil, fmt.Errorf("read the migrations: %w", err)
	}
	tallyAt, err := appliedAt(ctx, pool, "SELECT name, migrated_at FROM bun_migrations")
	if err != nil {
		return nil, err
	}
	riverAt, err := appliedAt(ctx, pool, "SELECT version::text, created_at FROM river_migration WHERE line = 'main'")
	if err != nil {
		return nil, err
	}
	var status []Migration
	for _, m := range all.Sorted() {
		status = append(status, Migration{Name: m.String(), AppliedAt: tallyAt[m.Name]})
	}
	for _, v := range river.AllVersions() {
		status = append(status, Migration{Name: riverName(v.Version), AppliedAt: riverAt[fmt.Sprint(v.Version)]})
	}
	return status, nil
}

// appliedAt returns when each migration was applied, none if their table does not exist.
func appliedAt(ctx context.Context, pool *pgxpool.Pool, query string) (map[string]time.Time, error) {
	applied := map[string]time.Time{}
	var name string
	var at time.Time
	rows, _ := pool.Query(ctx, query) // ForEachRow returns its error
	_, err := pgx.ForEachRow(rows, []any{&name, &at}, func() error { applied[name] = at; return nil })
	if missing, ok := errors.AsType[*pgconn.PgError](err); ok &&
		(missing.Code == pgerrcode.UndefinedTable || missing.Code == pgerrcode.UndefinedColumn) {
		return applied, nil
	}
	if err != nil {
		return nil, fmt.Errorf("migration status: %w", err)
	}
	return applied, nil
}

// Schema creates the schema of test databases.
type Schema struct{}

// Hash identifies the schema: it depends on the SQL files and River's migrations.
func (Schema) Hash() string {
	h := sha256.New()
	names, _ := fs.Glob(files, "*.sql") // the pattern is valid
	for _, name := range names {
		content, _ := files.ReadFile(name) // the file is embedded
		fmt.Fprintf(h, "%s %d\n%s\n", name, len(content), content)
	}
	if migrator, err := rivermigrate.New(riverpgxv5.New(nil), nil); err == nil {
		for _, v := range migrator.AllVersions() {
			fmt.Fprintf(h, "river %d\n%s\n", v.Version, v.SQLUp)
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// Up creates the schema in an empty database.
func (Schema) Up(ctx context.Context, pool *pgxpool.Pool) error {
	_, err := Up(ctx, pool)
	return err
}
