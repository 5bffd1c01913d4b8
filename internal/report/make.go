package report

import (
	"context"
	_ "embed" // for gather.sql
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/internal/explain"
	"github.com/opentax/tally/internal/sqlfile"
)

//go:embed gather.sql
var gatherSQL string

// Within is how long a report takes at most where nothing else is said.
const Within = 50 * time.Second

// statementShare is how much of the time that is left one statement may take.
const statementShare = 3

// lockWait keeps the report out of the way of loads, which lock for moments.
const lockWait = 2 * time.Second

// ErrNotMigrated is of a database that has not got Tally's tables, or not all.
var ErrNotMigrated = errors.New("the database has not got Tally's tables; run tally migrate")

// Config is where a report comes from. Pool, Queries and Rollups are required.
type Config struct {
	Pool    *pgxpool.Pool                        // of which one connection is taken
	Queries func(explain.Sample) []explain.Query // all of Tally's statements
	Rollups []Rollup                             // all of them
	Pending []string                             // migrations that are to come, by name
	Within  time.Duration                        // 0: [Within]
	OpenFor time.Duration                        // how long a transaction may be open before it is a finding; 0: ten minutes
	Machine Machine
	Version string
	Clock   func() time.Time // nil: time.Now
}

// Make looks at the database. It changes nothing in it. It ends with an error where it
// has no database, or one without Tally's tables ([ErrNotMigrated]).
func Make(ctx context.Context, c Config) (*Report, error) {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Within <= 0 {
		c.Within = Within
	}
	if c.OpenFor <= 0 {
		c.OpenFor = 10 * time.Minute
	}
	began := time.Now()
	deadline, cancel := context.WithTimeout(ctx, c.Within)
	defer cancel()
	conn, err := c.Pool.Acquire(deadline)
	if err != nil {
		return nil, fmt.Errorf("connect for a report: %w", err)
	}
	defer conn.Release()
	tx, err := conn.BeginTx(deadline, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, fmt.Errorf("begin a report: %w", err)
	}
	defer tx.Rollback(context.WithoutCancel(ctx)) //nolint:errcheck // nothing was written
	r := &Report{Version: c.Version, At: c.Clock().UTC().Truncate(time.Second), Machine: c.Machine}
	g := &gathering{Report: r, tx: tx, sql: sqlfile.Parse(gatherSQL), until: began.Add(c.Within), config: c}
	if err := g.all(deadline); err != nil {
		return nil, err
	}
	r.Findings = g.ranked()
	r.Took = time.Since(began).Round(time.Millisecond).Seconds()
	return r, nil
}

// gathering fills a report, statement by statement.
type gathering struct {
	*Report
	tx     pgx.Tx
	sql    sqlfile.Statements
	until  time.Time
	config Config

	found    []Finding
	totals   []rollupTotal
	schedule []failedRun
}

func (g *gathering) all(ctx context.Context) error {
	// An application's name tells an administrator who is asking.
	if _, err := g.tx.Exec(ctx, "SELECT set_config('application_name', 'tally report', true), set_config('lock_timeout', $1, true)",
		fmt.Sprint(lockWait.Milliseconds())); err != nil {
		return fmt.Errorf("begin a report: %w", err)
	}
	migrated := false
	if err := g.tx.QueryRow(ctx, g.sql.Get("migrated"), g.ownTables()).Scan(&migrated); err != nil {
		return fmt.Errorf("look for Tally's tables: %w", err)
	}
	if !migrated {
		return ErrNotMigrated
	}
	servers := rows[Server](ctx, g, "the server", "server")
	if len(servers) != 1 {
		return fmt.Errorf("ask the server what it is: %s", g.Skipped[len(g.Skipped)-1].Why)
	}
	g.Server = servers[0]
	g.Tables = rows[Table](ctx, g, "tables", "tables")
	g.Indexes = rows[Index](ctx, g, "indexes", "indexes")
	g.Partitions = rows[Partition](ctx, g, "partitions", "partitions")
	g.Nights = rows[Night](ctx, g, "nights", "nights")
	g.Settings = rows[Setting](ctx, g, "settings", "settings")
	g.Empty = len(g.Nights) == 0 && g.table("transaction_keys").Live == 0 && !g.counted()
	g.totals = query[rollupTotal](ctx, g, "the rollups' totals", g.rollupTotals())
	g.schedule = rows[failedRun](ctx, g, "failed runs", "failed_runs")
	g.judgeSchema()
	g.judgeData()
	g.judgeUpkeep()
	g.judgeDensity(ctx)
	g.judgeSettings(ctx)
	g.judgeServer(ctx)
	g.grow()
	g.readStatements(ctx)
	g.explainQueries(ctx)
	g.judgeQueries()
	return nil
}

func (g *gathering) counted() bool {
	for _, p := range g.Partitions {
		if p.Counted > 0 {
			return true
		}
	}
	return false
}

// rows are what a statement of gather.sql gives. What goes wrong is skipped with its
// reason, and the report goes on.
func rows[T any](ctx context.Context, g *gathering, what, name string, args ...any) []T {
	return query[T](ctx, g, what, g.sql.Get(name), args...)
}

func query[T any](ctx context.Context, g *gathering, what, sql string, args ...any) []T {
	all := []T{}
	g.try(ctx, what, func(tx pgx.Tx) error {
		found, err := tx.Query(ctx, sql, args...)
		if err == nil {
			all, err = pgx.CollectRows(found, pgx.RowToStructByName[T])
		}
		return err
	})
	if all == nil {
		all = []T{}
	}
	return all
}

// try runs one step under a limit of its own, so that a slow one leaves time to others.
func (g *gathering) try(ctx context.Context, what string, step func(tx pgx.Tx) error) {
	left := time.Until(g.until)
	if left < 100*time.Millisecond {
		g.skip(what, "no time was left; --within gives more")
		return
	}
	limit := max(left/statementShare, 100*time.Millisecond)
	err := pgx.BeginFunc(ctx, g.tx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT set_config('statement_timeout', $1, true)", fmt.Sprint(limit.Milliseconds())); err != nil {
			return err
		}
		return step(tx)
	})
	if err != nil {
		g.skip(what, reason(err, limit))
	}
}

func (g *gathering) skip(what, why string) { g.Skipped = append(g.Skipped, Skip{what, why}) }

// reason says in words of the report's reader why a step failed.
func reason(err error, limit time.Duration) string {
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch refused.Code {
		case pgerrcode.QueryCanceled:
			return fmt.Sprintf("it took more than %s; --within gives more", limit.Round(time.Second/10))
		case pgerrcode.LockNotAvailable:
			return fmt.Sprintf("a lock was held by somebody else for %s", lockWait)
		case pgerrcode.InsufficientPrivilege:
			return "the role may not see it: " + refused.Message
		}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "no time was left; --within gives more"
	}
	return err.Error()
}

// table is the table of a name, or an empty one.
func (g *gathering) table(name string) Table {
	for _, t := range g.Tables {
		if t.Name == name {
			return t
		}
	}
	return Table{}
}

// setting is the setting of a name, or an empty one.
func (g *gathering) setting(name string) Setting {
	for _, s := range g.Settings {
		if s.Name == name {
			return s
		}
	}
	return Setting{}
}
