// Package migrations contains Tally's schema as numbered SQL files, and migrates a
// database to it and to River's schema.
//
// Each file runs in one transaction, which also records the migration. [Up] holds a
// session-level advisory lock, so processes that start concurrently migrate one after
// the other; PostgreSQL releases the lock of a killed process. Applied migrations are
// skipped.
//
// [Up] and [Status] return a [NewerError] if the database has migrations that this program
// does not have: the program would not write what they added.
//
// A migration that blocks others on large tables says so in a line "-- Blocks: …", with
// the time per million rows. Commands print it before they apply it.
package migrations

import (
	"cmp"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
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
	// Blocks says what the migration blocks and for how long, such as "loads, about 3 s
	// per million rows of transactions"; empty if it blocks others for a moment at most.
	Blocks string
	// AppliedAt is zero for a pending migration.
	AppliedAt time.Time
}

// Applied reports whether the migration has been applied.
func (m Migration) Applied() bool { return !m.AppliedAt.IsZero() }

// NewerError reports a migration that is applied and that this program does not have. The
// names have the form of [Migration.Name], without Tally's title.
type NewerError struct{ Database, Program string }

func (e *NewerError) Error() string {
	return fmt.Sprintf("the database's schema is newer than this program: it has migration %s, the program's last one is %s; "+
		"use the version of Tally that migrated the database, or a later one", e.Database, e.Program)
}

// Up applies all pending migrations and returns their names. If a migration fails, the
// preceding ones stay applied, and Up returns them with the error.
func Up(ctx context.Context, pool *pgxpool.Pool) (applied []string, err error) {
	unlock, err := lock(ctx, pool)
	if err != nil {
		return nil, fmt.Errorf("migrate: %w", err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if _, err := Status(ctx, pool); err != nil { // the schema may be newer
		return nil, fmt.Errorf("migrate: %w", err)
	}
	if applied, err = upTally(ctx, pool); err != nil {
		return applied, fmt.Errorf("migrate: %w", err)
	}
	river, err := upRiver(ctx, pool)
	if err != nil {
		return applied, fmt.Errorf("migrate River: %w", err)
	}
	return append(applied, river...), nil
}

// lock waits for the lock of migrations.
func lock(ctx context.Context, pool *pgxpool.Pool) (unlock func() error, err error) {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock($1)", lockKey); err != nil {
		conn.Release()
		return nil, fmt.Errorf("wait for the lock: %w", err)
	}
	return func() error {
		defer conn.Release()
		// Not canceled with ctx: a locked connection must not return to the pool.
		if _, err := conn.Exec(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1)", lockKey); err != nil {
			return fmt.Errorf("migrate: release the lock: %w", err)
		}
		return nil
	}, nil
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
// empty database. It returns a [*NewerError] if it does not know all applied ones.
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
	riverAt, err := appliedAt(ctx, pool, "SELECT 'river_main_' || lpad(version::text, 3, '0'), created_at FROM river_migration WHERE line = 'main'")
	if err != nil {
		return nil, err
	}
	var status []Migration
	var tallyNames, riverNames []string
	for _, m := range all.Sorted() {
		tallyNames = append(tallyNames, m.Name)
		status = append(status, Migration{Name: m.String(), Blocks: blocks(m.String()), AppliedAt: tallyAt[m.Name]})
	}
	for _, v := range river.AllVersions() {
		riverNames = append(riverNames, riverName(v.Version))
		status = append(status, Migration{Name: riverName(v.Version), AppliedAt: riverAt[riverName(v.Version)]})
	}
	return status, cmp.Or(checkKnown(tallyAt, tallyNames), checkKnown(riverAt, riverNames))
}

// checkKnown returns a NewerError with the last applied migration that is not known.
func checkKnown(applied map[string]time.Time, known []string) error {
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(applied))) {
		if !slices.Contains(known, name) {
			return &NewerError{Database: name, Program: known[len(known)-1]}
		}
	}
	return nil
}

// blocks returns the annotation of a migration's file.
func blocks(name string) string {
	content, _ := files.ReadFile(name + ".tx.up.sql") // the file is embedded
	_, text, _ := strings.Cut(string(content), "\n-- Blocks: ")
	text, _, _ = strings.Cut(text, "\n")
	return strings.TrimSuffix(text, ".")
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
	fmt.Fprintln(h, distributeSQL)
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
