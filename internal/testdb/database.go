package testdb

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/postgres"
)

const (
	databasePrefix  = "test_"
	templatePrefix  = "schema_"
	timeLayout      = "20060102150405"
	keepFor         = time.Hour      // databases of failed tests, to be looked at
	keepTemplateFor = 24 * time.Hour // since it was made
	// templateLock is held exclusively while a template is made or dropped, and
	// shared while one is cloned. It belongs to the database tally.
	templateLock = 0x74616c6c79_74
)

// create clones the schema's template, which it makes where it is missing.
func (s *shared) create(ctx context.Context, schema Schema) (string, error) {
	name := databasePrefix + time.Now().UTC().Format(timeLayout) + "_" + strings.ToLower(rand.Text()[:10])
	template := templatePrefix + schema.Hash()
	for {
		made := false
		err := s.locked(ctx, "_shared", func() (err error) {
			if made, err = s.isMade(ctx, template); err == nil && made {
				err = s.exec(ctx, "CREATE DATABASE %s TEMPLATE %s", name, template)
			}
			return err
		})
		if err != nil || made {
			return name, err
		}
		err = s.locked(ctx, "", func() error {
			if made, err := s.isMade(ctx, template); err != nil || made {
				return err
			}
			return s.makeTemplate(ctx, template, schema)
		})
		if err != nil {
			return name, fmt.Errorf("template %s: %w", template, err)
		}
	}
}

func (s *shared) drop(ctx context.Context, name string) error {
	return s.exec(ctx, "DROP DATABASE IF EXISTS %s WITH (FORCE)", name)
}

// locked runs fn under the template lock, of the kind "" or "_shared". The
// connection that holds the lock is closed at the end and not put back: the lock
// ends with it, whatever fn did.
func (s *shared) locked(ctx context.Context, kind string, fn func() error) error {
	conn, err := pgx.Connect(ctx, s.server.URL())
	if err != nil {
		return err
	}
	if _, err = conn.Exec(ctx, "SELECT pg_advisory_lock"+kind+"($1)", int64(templateLock)); err == nil {
		err = fn()
	}
	return errors.Join(err, conn.Close(ctx))
}

// isMade says whether a template is complete: being marked as a template is the
// last step of making one.
func (s *shared) isMade(ctx context.Context, template string) (made bool, err error) {
	err = s.admin.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1 AND datistemplate)", template).Scan(&made)
	return made, err
}

// makeTemplate makes a template anew, whatever was left half made.
func (s *shared) makeTemplate(ctx context.Context, name string, schema Schema) error {
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
	err = schema.Up(ctx, pool)
	pool.Close()
	if err != nil {
		return fmt.Errorf("make the schema: %w", err)
	}
	return s.exec(ctx, "ALTER DATABASE %s IS_TEMPLATE true", name)
}

// sweep drops what tests have left behind. A template's age is its folder's: the
// server does not note it, and one that is still in use is simply made again.
func (s *shared) sweep(ctx context.Context) error {
	oldest := databasePrefix + time.Now().UTC().Add(-keepFor).Format(timeLayout)
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
	if old, err = s.names(ctx, oldTemplates, keepTemplateFor); err != nil || len(old) == 0 {
		return err
	}
	return s.locked(ctx, "", func() error {
		// Asked again: another process may have made one anew meanwhile.
		old, err := s.names(ctx, oldTemplates, keepTemplateFor)
		for _, name := range old {
			err = errors.Join(err, s.exec(ctx, "ALTER DATABASE %s IS_TEMPLATE false", name), s.drop(ctx, name))
		}
		return err
	})
}

func (s *shared) names(ctx context.Context, query string, args ...any) ([]string, error) {
	rows, err := s.admin.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
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
