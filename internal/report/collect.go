package report

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/internal/explain"
	"github.com/opentax/tally/internal/sqlfile"
)

//go:embed report.sql
var statements string

const (
	statementShare = 3                      // one statement may take this part of the time that is left
	minTime        = 100 * time.Millisecond // of a statement
	lockWait       = 2 * time.Second        // longer would be in the way of loads, which lock for moments
	noTime         = "no time was left; --within gives more"
)

// ErrNotMigrated is returned for a database without Tally's tables, or without some of them.
var ErrNotMigrated = errors.New("the database has not got Tally's tables; run tally migrate")

// Config is the source of a report. Pool, Queries and Rollups are required.
type Config struct {
	Pool    *pgxpool.Pool                        // one connection of it is used
	Queries func(explain.Sample) []explain.Query // all of Tally's statements
	Rollups []Rollup                             // all of them
	Pending []string                             // migrations that are to come, by name
	Within  time.Duration                        // for the whole report; 0: 50 s
	OpenFor time.Duration                        // a transaction that is open for longer is a finding; 0: ten minutes
	Machine Machine
	Version string
}

// Rollup is a table of counts and sums of transactions, as its registry declares it.
type Rollup struct {
	Table   string
	Keys    []string // the columns of its primary key
	PerUser bool     // it grows with the users, and every load writes all over it
}

// Make reports on the database and changes nothing in it. It returns an error only without a database, or for one without
// Tally's tables ([ErrNotMigrated]).
func Make(ctx context.Context, config Config) (*Report, error) {
	began := time.Now()
	config.Within, config.OpenFor = cmp.Or(config.Within, 50*time.Second), cmp.Or(config.OpenFor, 10*time.Minute)
	deadline, cancel := context.WithTimeout(ctx, config.Within)
	defer cancel()
	tx, err := config.Pool.BeginTx(deadline, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, fmt.Errorf("begin a report: %w", err)
	}
	defer tx.Rollback(context.WithoutCancel(ctx)) //nolint:errcheck // nothing was written
	c := &collector{tx: tx, sql: sqlfile.Parse(statements), until: began.Add(config.Within), config: config, Report: &Report{
		Version: config.Version, At: began.UTC().Truncate(time.Second), Machine: config.Machine, Findings: []Finding{},
	}}
	if err := c.collect(deadline); err != nil {
		return nil, err
	}
	c.check(deadline)
	c.sortFindings()
	c.Took = time.Since(began).Round(time.Millisecond).Seconds()
	return c.Report, nil
}

// collector fills a report, statement by statement.
type collector struct {
	*Report
	tx     pgx.Tx
	sql    sqlfile.Statements
	until  time.Time
	config Config
	server server
}

// server has also what checks need.
type server struct {
	Server

	SeesSessions bool // of other roles
	Extensions   []string
}

func (c *collector) collect(ctx context.Context) error {
	// An administrator recognizes the session by its application_name.
	if _, err := c.tx.Exec(ctx, "SELECT set_config('application_name', 'tally report', true), set_config('lock_timeout', $1, true)",
		fmt.Sprint(lockWait.Milliseconds())); err != nil {
		return fmt.Errorf("begin a report: %w", err)
	}
	needed, migrated := []string{"transactions"}, false
	for _, r := range c.config.Rollups {
		needed = append(needed, r.Table)
	}
	if err := c.tx.QueryRow(ctx, c.sql.Get("migrated"), needed).Scan(&migrated); err != nil {
		return fmt.Errorf("look for Tally's tables: %w", err)
	}
	if !migrated {
		return ErrNotMigrated
	}
	c.server = one[server](ctx, c, "the server", "server")
	if c.server.Number == 0 {
		return fmt.Errorf("read the server's version: %s", c.Skipped[len(c.Skipped)-1].Why)
	}
	c.Server = c.server.Server
	c.Tables = rows[Table](ctx, c, "tables", "tables")
	c.Indexes = rows[Index](ctx, c, "indexes", "indexes")
	c.Partitions = rows[Partition](ctx, c, "partitions", "partitions")
	c.Nights = rows[Night](ctx, c, "nights", "nights")
	c.Settings = rows[Setting](ctx, c, "settings", "settings")
	c.Empty = len(c.Nights) == 0 && c.table("transaction_keys").Live == 0 && c.transactionRows() == 0
	return nil
}

// check makes the findings and the forecasts of what was collected.
func (c *collector) check(ctx context.Context) {
	totals := make([]string, len(c.config.Rollups))
	for i, r := range c.config.Rollups {
		totals[i] = strings.TrimSuffix(c.sql.Get("totals", "rollup", r.Table), ";")
	}
	c.checkTotals(query(ctx, c, "the rollups' totals", strings.Join(totals, " UNION ALL "), pgx.RowToStructByName[rollupTotal]))
	c.checkSchema()
	c.checkUpkeep()
	c.checkMemory()
	c.checkServer(ctx)
	c.grow(ctx)
	c.listStatements(ctx)
	c.explainQueries(ctx)
	c.checkQueries()
}

// rows returns the rows of a statement of report.sql. An error is listed in Skipped, and the report goes on.
func rows[T any](ctx context.Context, c *collector, what, name string, args ...any) []T {
	return query(ctx, c, what, c.sql.Get(name), pgx.RowToStructByName[T], args...)
}

// one returns the row of a statement that has one, or a zero row.
func one[T any](ctx context.Context, c *collector, what, name string) T {
	return first(rows[T](ctx, c, what, name), func(T) bool { return true })
}

func query[T any](ctx context.Context, c *collector, what, sql string, row pgx.RowToFunc[T], args ...any) []T {
	all := []T{}
	c.try(ctx, what, func(tx pgx.Tx) error {
		found, err := tx.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		read, err := pgx.CollectRows(found, row)
		all = append(all, read...)
		return err
	})
	return all
}

// try runs one step under a limit of its own, so that a slow one leaves time to others. It returns why it skipped the step.
func (c *collector) try(ctx context.Context, what string, step func(tx pgx.Tx) error) (skipped string) {
	left := time.Until(c.until)
	if left < minTime {
		return c.skip(what, noTime)
	}
	limit := max(left/statementShare, minTime)
	err := pgx.BeginFunc(ctx, c.tx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT set_config('statement_timeout', $1, true)", fmt.Sprint(limit.Milliseconds())); err != nil {
			return err
		}
		return step(tx)
	})
	if err != nil {
		return c.skip(what, reason(err, limit))
	}
	return ""
}

func (c *collector) skip(what, why string) string {
	c.Skipped = append(c.Skipped, Skip{what, why})
	return why
}

// reason explains to a reader of the report why a step failed.
func reason(err error, limit time.Duration) string {
	if failed, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch failed.Code {
		case pgerrcode.QueryCanceled:
			return fmt.Sprintf("it took more than %s; --within gives more", limit.Round(time.Second/10))
		case pgerrcode.LockNotAvailable:
			return fmt.Sprintf("another session held a lock for %s", lockWait)
		case pgerrcode.InsufficientPrivilege:
			return "the role may not see it: " + failed.Message
		}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return noTime
	}
	return err.Error()
}

// table returns the table of a name, or an empty one.
func (c *collector) table(name string) Table {
	return first(c.Tables, func(t Table) bool { return t.Name == name })
}

// setting returns the setting of a name, or an empty one.
func (c *collector) setting(name string) Setting {
	return first(c.Settings, func(s Setting) bool { return s.Name == name })
}

func first[T any](all []T, fits func(T) bool) (found T) {
	if i := slices.IndexFunc(all, fits); i >= 0 {
		found = all[i]
	}
	return found
}

// writtenAllOver returns the primary keys into which every load writes all over.
func (c *collector) writtenAllOver() []string {
	indexes := []string{"transaction_keys_pkey"}
	for _, r := range c.config.Rollups {
		if r.PerUser {
			indexes = append(indexes, r.Table+"_pkey")
		}
	}
	return indexes
}
