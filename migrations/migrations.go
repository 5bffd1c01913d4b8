// Package migrations holds Tally's schema as numbered SQL files, and brings a
// database up to it together with River's own tables.
//
// Each file runs in one transaction, which also notes that it ran. [Up] holds a
// session-level advisory lock meanwhile, so two processes that start at once
// take turns; the lock belongs to the connection, so a killed process leaves
// none behind. What is up to date already is left alone.
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

// lockKey is this program's own choice of an advisory lock: "tally" in ASCII.
const lockKey = 0x74616c6c79

// A Migration is one step of the schema.
type Migration struct {
	// Name is the number and title, such as "0001_transactions", or
	// "river_main_006" for one of River's.
	Name string
	// AppliedAt is zero for a step that is still to come. River's own table
	// knows when its steps were taken.
	AppliedAt time.Time
}

// Applied says whether the database has the step.
func (m Migration) Applied() bool { return !m.AppliedAt.IsZero() }

// Up brings the database up to date and returns the names of the steps that it
// took, none where there was nothing to do. When a step fails, the steps before
// it stay and are returned with the error.
func Up(ctx context.Context, pool *pgxpool.Pool) ([]string, error) {
	var applied []string
	err := locked(ctx, pool, func() error {
		own, err := upOwn(ctx, pool)
		applied = append(applied, own...)
		if err != nil {
			return err
		}
		rivers, err := upRiver(ctx, pool)
		applied = append(applied, rivers...)
		return err
	})
	return applied, err
}

// locked runs fn while this process alone may migrate the database.
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
		// On a context of its own: a cancelled caller must not hand a locked
		// connection back to the pool.
		_, unlockErr := conn.Exec(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1)", int64(lockKey))
		if unlockErr != nil {
			err = errors.Join(err, fmt.Errorf("migrate: release the lock: %w", unlockErr))
		}
	}()
	return fn()
}

func upOwn(ctx context.Context, pool *pgxpool.Pool) ([]string, error) {
	migrator, err := newMigrator(pool)
	if err != nil {
		return nil, err
	}
	defer migrator.DB().Close() //nolint:errcheck // see newMigrator
	if err := migrator.Init(ctx); err != nil {
		return nil, fmt.Errorf("migrate: make bun's tables: %w", err)
	}
	group, err := migrator.Migrate(ctx)
	var applied []string
	for _, m := range group.Migrations {
		if err != nil && m.Name == group.Migrations[len(group.Migrations)-1].Name {
			break // the last one named is the one that failed
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

// Status lists every step, applied or not. It changes nothing, and works on a
// database that has never been migrated.
func Status(ctx context.Context, pool *pgxpool.Pool) ([]Migration, error) {
	own, err := statusOwn(ctx, pool)
	if err != nil {
		return nil, err
	}
	rivers, err := statusRiver(ctx, pool)
	return append(own, rivers...), err
}

func statusOwn(ctx context.Context, pool *pgxpool.Pool) ([]Migration, error) {
	var made bool
	const madeQuery = "SELECT to_regclass('bun_migrations') IS NOT NULL"
	if err := pool.QueryRow(ctx, madeQuery).Scan(&made); err != nil {
		return nil, fmt.Errorf("migration status: %w", err)
	}
	steps, err := ownSteps(ctx, pool, made)
	if err != nil {
		return nil, err
	}
	status := make([]Migration, len(steps))
	for i, s := range steps {
		status[i] = Migration{Name: s.String(), AppliedAt: s.MigratedAt}
	}
	return status, nil
}

// ownSteps are the steps of the SQL files, with the times at which they were taken
// where there is a table that knows.
func ownSteps(ctx context.Context, pool *pgxpool.Pool, made bool) (migrate.MigrationSlice, error) {
	if !made {
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
	steps, err := migrator.MigrationsWithStatus(ctx)
	if err != nil {
		return nil, fmt.Errorf("migration status: %w", err)
	}
	return steps, nil
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
	return ok && (state.SQLState() == "42P01" || state.SQLState() == "42703")
}

func registered() (*migrate.Migrations, error) {
	all := migrate.NewMigrations()
	if err := all.Discover(files); err != nil {
		return nil, fmt.Errorf("read the migrations: %w", err)
	}
	return all, nil
}

// newMigrator's database is to be closed after use: that leaves the pool open, and
// ends the goroutine that database/sql keeps for it. Status is asked by every
// readiness probe.
func newMigrator(pool *pgxpool.Pool) (*migrate.Migrator, error) {
	all, err := registered()
	if err != nil {
		return nil, err
	}
	db := bun.NewDB(stdlib.OpenDBFromPool(pool), pgdialect.New())
	// The lock of bun is a row that outlives a crash, so it is not used; with
	// the upsert, noting a step that has noted itself is no error.
	return migrate.NewMigrator(db, all, migrate.WithMarkAppliedOnSuccess(true), migrate.WithUpsert(true)), nil
}

// Schema is the schema as the test databases take it.
type Schema struct{}

// Hash names the schema: the same files and the same River give the same hash.
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

// Up brings a test database up to the schema.
func (Schema) Up(ctx context.Context, pool *pgxpool.Pool) error {
	_, err := Up(ctx, pool)
	return err
}
