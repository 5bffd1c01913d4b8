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
const lockKey = 0x74616c6c79

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
func Up(ctx context.Context, pool *pgxpool.Pool) ([]string, error) {
	var applied []string
	err := locked(ctx, pool, func() error {
		tally, err := upTally(ctx, pool)
		applied = append(applied, tally...)
		if err != nil {
			return err
		}
		river, err := upRiver(ctx, pool)
		applied = append(applied, river...)
		return err
	})
	return applied, err
}

// locked runs fn while it holds the lock, so that only this process migrates.
func locked(ctx context.Context, pool *pgxpool.Pool, fn func() error) (err error) {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	defer conn.Release()
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock($1)", int64(lockKey)); err != nil {
		return fmt.Errorf("migrate: wait for the lock: %w", err)
	}
	defer func() {
		// Not canceled with ctx: a locked connection must not return to the pool.
		_, unlockErr := conn.Exec(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1)", int64(lockKey))
		if unlockErr != nil {
			err = errors.Join(err, fmt.Errorf("migrate: release the lock: %w", unlockErr))
		}
	}()
	return fn()
}

func upTally(ctx context.Context, pool *pgxpool.Pool) ([]string, error) {
	migrator, err := newMigrator(pool)
	if err != nil {
		return nil, err
	}
	defer migrator.DB().Close() //nolint:errcheck // see newMigrator
	if err := migrator.Init(ctx); err != nil {
		return nil, fmt.Errorf("migrate: create bun's tables: %w", err)
	}
	group, err := migrator.Migrate(ctx)
	var applied []string
	for _, m := range group.Migrations {
		if err != nil && m.Name == group.Migrations[len(group.Migrations)-1].Name {
			break // the last migration of the group failed
		}
		applied = append(applied, m.String())
	}
	if err != nil {
		return applied, fmt.Errorf("migrate: %w", err)
	}
	return applied, nil
}

func upRiver(ctx context.Context, pool *pgxpool.Pool) ([]string, error) {
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), nil)
	if err != nil {
		return nil, fmt.Errorf("migrate River: %w", err)
	}
	result, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	if err != nil {
		return nil, fmt.Errorf("migrate River: %w", err)
	}
	applied := make([]string, len(result.Versions))
	for i, v := range result.Versions {
		applied[i] = riverName(v.Version)
	}
	return applied, nil
}

// Status lists all migrations, applied and pending. It is read-only, and works on an
// empty database.
func Status(ctx context.Context, pool *pgxpool.Pool) ([]Migration, error) {
	status, err := statusTally(ctx, pool)
	if err != nil {
		return nil, err
	}
	river, err := statusRiver(ctx, pool)
	return append(status, river...), err
}

func statusTally(ctx context.Context, pool *pgxpool.Pool) ([]Migration, error) {
	var initialized bool
	const initializedQuery = "SELECT to_regclass('bun_migrations') IS NOT NULL"
	if err := pool.QueryRow(ctx, initializedQuery).Scan(&initialized); err != nil {
		return nil, fmt.Errorf("migration status: %w", err)
	}
	all, err := tallyMigrations(ctx, pool, initialized)
	if err != nil {
		return nil, err
	}
	status := make([]Migration, len(all))
	for i, m := range all {
		status[i] = Migration{Name: m.String(), AppliedAt: m.MigratedAt}
	}
	return status, nil
}

// tallyMigrations returns the migrations of the SQL files and, if bun's tables exist,
// when they were applied.
func tallyMigrations(ctx context.Context, pool *pgxpool.Pool, initialized bool) (migrate.MigrationSlice, error) {
	if !initialized {
		all, err := registered()
		if err != nil {
			return nil, err
		}
		return all.Sorted(), nil
	}
	migrator, err := newMigrator(pool)
	if err != nil {
		return nil, err
	}
	defer migrator.DB().Close() //nolint:errcheck // see newMigrator
	all, err := migrator.MigrationsWithStatus(ctx)
	if err != nil {
		return nil, fmt.Errorf("migration status: %w", err)
	}
	return all, nil
}

func statusRiver(ctx context.Context, pool *pgxpool.Pool) ([]Migration, error) {
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), nil)
	if err != nil {
		return nil, fmt.Errorf("migration status of River: %w", err)
	}
	applied := map[int]time.Time{}
	rows, err := pool.Query(ctx, "SELECT version, created_at FROM river_migration WHERE line = 'main'")
	if err == nil {
		var version int
		var at time.Time
		_, err = pgx.ForEachRow(rows, []any{&version, &at}, func() error { applied[version] = at; return nil })
	}
	if err != nil && !undefinedTable(err) {
		return nil, fmt.Errorf("migration status of River: %w", err)
	}
	var status []Migration
	for _, v := range migrator.AllVersions() {
		status = append(status, Migration{Name: riverName(v.Version), AppliedAt: applied[v.Version]})
	}
	return status, nil
}

func riverName(version int) string { return fmt.Sprintf("river_main_%03d", version) }

func undefinedTable(err error) bool {
	state, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err)
	return ok && (state.SQLState() == pgerrcode.UndefinedTable || state.SQLState() == pgerrcode.UndefinedColumn)
}

func registered() (*migrate.Migrations, error) {
	all := migrate.NewMigrations()
	if err := all.Discover(files); err != nil {
		return nil, fmt.Errorf("read the migrations: %w", err)
	}
	return all, nil
}

// newMigrator returns a migrator whose DB must be closed after use, which stops a
// goroutine of database/sql and leaves the pool open. Every readiness probe calls Status,
// so a leaked goroutine would add up.
func newMigrator(pool *pgxpool.Pool) (*migrate.Migrator, error) {
	all, err := registered()
	if err != nil {
		return nil, err
	}
	db := bun.NewDB(stdlib.OpenDBFromPool(pool), pgdialect.New())
	// Bun's lock is a row that survives a crash, so it is not used. WithUpsert is
	// needed because each migration also records itself.
	return migrate.NewMigrator(db, all, migrate.WithMarkAppliedOnSuccess(true), migrate.WithUpsert(true)), nil
}

// Schema creates the schema of test databases.
type Schema struct{}

// Hash identifies the schema: it depends on the SQL files and River's migrations.
func (Schema) Hash() string {
	h := sha256.New()
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		panic(err) // the pattern is a constant
	}
	for _, name := range names {
		content, err := files.ReadFile(name)
		if err != nil {
			panic(err) // the file is embedded
		}
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
