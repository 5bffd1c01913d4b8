package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/internal/embedded"
	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/migrations"
)

// database is the database in use, embedded or not.
type database struct {
	url      string
	pool     *pgxpool.Pool
	requests *pgxpool.Pool    // of the API; nil without one
	direct   *pgxpool.Pool    // past a pooler; nil without DATABASE_DIRECT_URL
	server   *embedded.Server // nil where DATABASE_URL names another
}

// requestTimeout is when the server cancels a statement of a request. The API gives up
// earlier, and asks the server to cancel; this is for requests that do not reach it.
const requestTimeout = 15 * time.Second

// locate finds or starts the database, without connecting.
func (env *environment) locate(ctx context.Context) (*database, error) {
	if env.DatabaseURL != "" {
		return &database{url: env.DatabaseURL}, nil
	}
	if env.DirectURL != "" {
		return nil, usageError{errors.New("DATABASE_DIRECT_URL needs DATABASE_URL, which leads to the same database through a pooler")}
	}
	dir, err := env.dataDir()
	if err != nil {
		return nil, err
	}
	server, err := embedded.Start(ctx, embedded.Config{Dir: dir, BinDir: env.PostgresBin, Logger: env.logger})
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, inboxName), 0o750); err != nil {
		return nil, errors.Join(fmt.Errorf("data folder: %w", err), server.Close())
	}
	return &database{url: server.URL(), server: server}, nil
}

// connect finds or starts the database and opens the pools of a process with these parts.
func (env *environment) connect(ctx context.Context, p parts) (*database, error) {
	db, err := env.locate(ctx)
	if err != nil {
		return nil, err
	}
	if env.DirectURL != "" && !p.lasts() { // a command of a few connections has no use for a pooler
		db.url = env.DirectURL
	}
	if err := env.openPools(ctx, db, p); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func (env *environment) openPools(ctx context.Context, db *database, p parts) error {
	s, err := p.share(db.url)
	if err != nil {
		return err
	}
	config := postgres.Config{URL: db.url, MaxConns: s.service, Tracer: env.tracer}
	if env.DirectURL != "" && p.lasts() {
		direct := config
		direct.URL, direct.MaxConns = env.DirectURL, migrationConns
		if p.work {
			direct.MaxConns = max(migrationConns, p.sessionConns(s.service))
		}
		if db.direct, err = postgres.Open(ctx, direct); err != nil {
			return fmt.Errorf("DATABASE_DIRECT_URL: %w", err)
		}
	}
	if db.pool, err = postgres.Open(ctx, config); err != nil || s.requests == 0 {
		return err
	}
	config.MaxConns, config.StatementTimeout = s.requests, requestTimeout
	db.requests, err = postgres.Open(ctx, config)
	return err
}

// open also checks the schema. It creates that of a new database; an older one is migrated
// only for a command that may, since a migration can block others for minutes.
func (env *environment) open(ctx context.Context, p parts) (*database, error) {
	db, err := env.connect(ctx, p)
	if err != nil {
		return nil, err
	}
	if err := env.checkSchema(ctx, db, p.migrate); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func (env *environment) checkSchema(ctx context.Context, db *database, migrates bool) error {
	steps, err := migrations.Status(ctx, db.pool)
	pending := pendingNames(steps)
	if err != nil || len(pending) == 0 {
		return err
	}
	if steps[0].Applied() && !migrates {
		return fmt.Errorf("the database's schema is older than this program (pending: %s): run tally migrate", strings.Join(pending, ", "))
	}
	for _, m := range blocking(steps) {
		env.logger.InfoContext(ctx, "migration blocks others", "migration", m.Name, "blocks", m.Blocks)
	}
	applied, err := migrate(ctx, db)
	if len(applied) > 0 {
		env.logger.InfoContext(ctx, "schema migrated", "steps", len(applied), "last", applied[len(applied)-1])
	}
	return err
}

// blocking returns the pending migrations that block others. In a new database no
// table has rows.
func blocking(steps []migrations.Migration) []migrations.Migration {
	if !steps[0].Applied() {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(steps), func(m migrations.Migration) bool { return m.Applied() || m.Blocks == "" })
}

func pendingNames(steps []migrations.Migration) (pending []string) {
	for _, s := range steps {
		if !s.Applied() {
			pending = append(pending, s.Name)
		}
	}
	return pending
}

// migrate migrates the schema and then records it in the audit trail, which is a part of
// the schema.
func migrate(ctx context.Context, db *database) (applied []string, err error) {
	sessions := cmp.Or(db.direct, db.pool)
	if err := postgres.NeedSessions(ctx, sessions); err != nil { // for the lock of migrations
		return nil, fmt.Errorf("migrate: %w", err)
	}
	applied, err = migrations.Up(ctx, sessions)
	if err != nil || len(applied) == 0 {
		return applied, err
	}
	by := caller()
	return applied, ledger.Record(ctx, db.pool, ledger.Event{
		Actor: by.Actor, Action: ledger.ActionSchemaMigrated, Subject: "schema", Origin: by.Origin,
		Detail: map[string]any{"steps": applied, "code_version": codeVersion()},
	})
}

// distributed reports whether the rows are on the nodes of a cluster.
func (d *database) distributed(ctx context.Context) (distributed bool, err error) {
	if err := d.pool.QueryRow(ctx, "SELECT tally_distributed()").Scan(&distributed); err != nil {
		return false, fmt.Errorf("look whether the tables are distributed: %w", err)
	}
	return distributed, nil
}

// dial opens a connection outside the pools, past a pooler if there is a way.
func (d *database) dial(ctx context.Context) (*pgx.Conn, error) {
	return pgx.ConnectConfig(ctx, cmp.Or(d.direct, d.pool).Config().ConnConfig)
}

// Close closes the pools and releases the embedded server, which stops with its last user.
func (d *database) Close() error {
	for _, pool := range []*pgxpool.Pool{d.requests, d.pool, d.direct} {
		if pool != nil {
			pool.Close()
		}
	}
	if d.server == nil {
		return nil
	}
	return d.server.Close()
}

// withDatabase opens the database for one command.
func (env *environment) withDatabase(ctx context.Context, do func(*database) error) (err error) {
	db, err := env.open(ctx, parts{})
	if err != nil {
		return err
	}
	defer closing(&err, db.Close)
	return do(db)
}

// closing joins the error of a deferred Close.
func closing(err *error, close func() error) {
	*err = errors.Join(*err, close())
}

type migrateCmd struct {
	Status      bool `help:"List the steps and change nothing; exit 1 if some are pending."`
	Distributed bool `help:"Then distribute the tables over the nodes of the Citus cluster whose coordinator the database is on."`
}

func (cmd migrateCmd) Run(ctx context.Context, env *environment) (err error) {
	db, err := env.connect(ctx, parts{})
	if err != nil {
		return err
	}
	defer closing(&err, db.Close)
	steps, err := migrations.Status(ctx, db.pool)
	if err != nil {
		return err
	}
	if cmd.Status {
		return printStatus(env, steps)
	}
	for _, m := range blocking(steps) {
		fmt.Fprintf(env.stdout, "%s blocks %s\n", m.Name, m.Blocks)
	}
	applied, err := migrate(ctx, db)
	for _, name := range applied {
		fmt.Fprintln(env.stdout, "applied", name)
	}
	if err == nil && len(applied) == 0 {
		fmt.Fprintln(env.stdout, "the schema is up to date")
	}
	if err != nil || !cmd.Distributed {
		return err
	}
	return distribute(ctx, env, db)
}

func distribute(ctx context.Context, env *environment, db *database) error {
	done, err := migrations.Distribute(ctx, db.pool)
	if err != nil {
		return err
	}
	if !done {
		fmt.Fprintln(env.stdout, "the tables are distributed already")
		return nil
	}
	fmt.Fprintln(env.stdout, "distributed the tables over the cluster")
	by := caller()
	return ledger.Record(ctx, db.pool, ledger.Event{
		Actor: by.Actor, Action: ledger.ActionSchemaMigrated, Subject: "schema", Origin: by.Origin,
		Detail: map[string]any{"distributed": true, "code_version": codeVersion()},
	})
}

func printStatus(env *environment, steps []migrations.Migration) (err error) {
	for _, s := range steps {
		state, blocks := "pending", ""
		if s.Applied() {
			state = s.AppliedAt.UTC().Format(time.DateTime)
		} else {
			err = errFailed
		}
		if !s.Applied() && s.Blocks != "" {
			blocks = "  (blocks " + s.Blocks + ")"
		}
		fmt.Fprintf(env.stdout, "%-19s  %s%s\n", state, s.Name, blocks)
	}
	return err
}
