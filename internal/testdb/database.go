package testdb

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/internal/postgres"
)

const (
	databasePrefix = "test_"
	templatePrefix = "schema_"
	timeLayout     = "20060102150405"
	keepFailed     = time.Hour      // databases of failed tests, for inspection
	keepTemplates  = 24 * time.Hour // since their creation
	dropTries      = 5
	// templateLock is an advisory lock in the database tally: exclusive to create or
	// drop a template, shared to clone one.
	templateLock = 0x74616c6c79_74
)

// create clones the schema's template, and creates the template if it is missing.
func (s *shared) create(ctx context.Context, schema Schema) (string, error) {
	name := databasePrefix + time.Now().UTC().Format(timeLayout) + "_" + strings.ToLower(rand.Text()[:10])
	template := templatePrefix + schema.Hash()
	for {
		exists := false
		err := s.locked(ctx, "_shared", func() (err error) {
			if exists, err = s.templateExists(ctx, template); err == nil && exists {
				err = s.exec(ctx, "CREATE DATABASE %s TEMPLATE %s", name, template)
			}
			return err
		})
		if err != nil || exists {
			return name, err
		}
		err = s.locked(ctx, "", func() error {
			if exists, err := s.templateExists(ctx, template); err != nil || exists {
				return err
			}
			return s.createTemplate(ctx, template, schema)
		})
		if err != nil {
			return name, fmt.Errorf("template %s: %w", template, err)
		}
	}
}

func (s *shared) drop(ctx context.Context, name string) (err error) {
	for range dropTries {
		err = s.exec(ctx, "DROP DATABASE IF EXISTS %s WITH (FORCE)", name)
		if postgres.State(err) != pgerrcode.ObjectInUse { // a cluster's own sessions come back
			break
		}
	}
	return err
}

// locked runs fn while it holds the template lock, in the mode "" (exclusive) or
// "_shared". It uses a separate connection, which it closes to release the lock.
func (s *shared) locked(ctx context.Context, kind string, fn func() error) error {
	conn, err := pgx.Connect(ctx, s.base)
	if err != nil {
		return err
	}
	if _, err = conn.Exec(ctx, "SELECT pg_advisory_lock"+kind+"($1)", int64(templateLock)); err == nil {
		err = fn()
	}
	return errors.Join(err, conn.Close(ctx))
}

// templateExists reports whether a template is complete: datistemplate is set in the
// last step of its creation.
func (s *shared) templateExists(ctx context.Context, template string) (exists bool, err error) {
	err = s.nodes[0].admin.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1 AND datistemplate)", template).Scan(&exists)
	return exists, err
}

// createTemplate creates a template, and first drops an incomplete one.
func (s *shared) createTemplate(ctx context.Context, name string, schema Schema) error {
	if err := s.drop(ctx, name); err != nil {
		return err
	}
	if err := s.exec(ctx, "CREATE DATABASE %s", name); err != nil {
		return err
	}
	pool, err := postgres.Open(ctx, postgres.Config{URL: s.url(name), MaxConns: 4})
	if err != nil {
		return err
	}
	err = s.createSchema(ctx, pool, name, schema)
	pool.Close()
	if err != nil {
		return fmt.Errorf("create the schema: %w", err)
	}
	if OnCluster() {
		if err := s.releaseTemplate(ctx, name); err != nil {
			return err
		}
	}
	return s.exec(ctx, "ALTER DATABASE %s IS_TEMPLATE true", name)
}

func (s *shared) createSchema(ctx context.Context, pool *pgxpool.Pool, name string, schema Schema) error {
	cluster, ok := schema.(distributed)
	if ok = ok && OnCluster(); ok {
		if err := s.join(ctx, name); err != nil {
			return err
		}
	}
	err := schema.Up(ctx, pool)
	if ok && err == nil {
		err = cluster.Distribute(ctx, pool)
	}
	return err
}

// sweep drops old databases and templates. PostgreSQL does not store when a database was
// created, so the age of a template is that of a file in its folder. Dropping a template
// that is still needed is harmless: it is created again.
func (s *shared) sweep(ctx context.Context) error {
	oldest := databasePrefix + time.Now().UTC().Add(-keepFailed).Format(timeLayout)
	old, err := s.names(ctx, `SELECT datname FROM pg_database WHERE datname LIKE 'test\_%' AND datname < $1`, oldest)
	if err != nil {
		return err
	}
	for _, name := range old {
		if err := s.drop(ctx, name); err != nil {
			return err
		}
	}
	const oldTemplates = `SELECT datname FROM pg_database WHERE datname LIKE 'schema\_%'
		AND (pg_stat_file('base/' || oid || '/PG_VERSION', true)).modification < now() - $1::interval`
	if old, err = s.names(ctx, oldTemplates, keepTemplates); err != nil || len(old) == 0 {
		return err
	}
	return s.locked(ctx, "", func() error {
		// Queried again: another process may have recreated one before the lock.
		old, err := s.names(ctx, oldTemplates, keepTemplates)
		for _, name := range old {
			err = errors.Join(err, s.exec(ctx, "ALTER DATABASE %s IS_TEMPLATE false", name), s.drop(ctx, name))
		}
		return err
	})
}

func (s *shared) names(ctx context.Context, query string, args ...any) ([]string, error) {
	rows, err := s.nodes[0].admin.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// exec runs a statement with quoted database names, which cannot be parameters.
func (s *shared) exec(ctx context.Context, statement string, names ...string) error {
	var quoted []any
	for _, name := range names {
		quoted = append(quoted, pgx.Identifier{name}.Sanitize())
	}
	for _, n := range slices.Backward(s.nodes) { // a template is complete when the coordinator's is
		if _, err := n.admin.Exec(ctx, fmt.Sprintf(statement, quoted...)); err != nil {
			return fmt.Errorf(statement+": %w", append(quoted, err)...)
		}
	}
	return nil
}
