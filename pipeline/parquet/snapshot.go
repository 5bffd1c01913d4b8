package parquet

import (
	"context"
	"fmt"
	"regexp"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/internal/sqlfile"
	"github.com/opentax/tally/summaries"
)

// readers is the number of connections that read. Each keeps one core of the server busy and one
// of this process.
const readers = 2

// sortMemory is the memory of a reader's sort on the server, before it uses the disk.
const sortMemory = "64MB"

// LockClass is the first half of the advisory lock that an export takes; the other half is
// hashtext of its target.
const LockClass = 0x6c616b65

// snapshot is one state of the database, read through several connections.
type snapshot struct {
	conns      []*pgxpool.Conn
	exclusion  summaries.Exclusion
	statements sqlfile.Statements
}

// open begins a transaction on each connection, all with the same snapshot. Until it is closed,
// no other snapshot gets the same lock ([ErrBusy]); "" is no lock. After an error it must be
// closed as well.
func (s *snapshot) open(ctx context.Context, pool *pgxpool.Pool, lock string) error {
	s.statements = sqlfile.Parse(exportSQL)
	var id string
	var err error
	if s.exclusion, err = summaries.ExcludeLoads(ctx, pool); err != nil {
		return err
	}
	for len(s.conns) < min(readers, max(1, int(pool.Config().MaxConns)-1)) {
		conn, err := pool.Acquire(ctx)
		if err != nil {
			return err
		}
		s.conns = append(s.conns, conn)
		if id, err = s.begin(ctx, conn, id); err != nil {
			return err
		}
		if len(s.conns) > 1 || lock == "" {
			continue
		}
		var free bool
		if err := conn.QueryRow(ctx, s.statements.Get("lock"), LockClass, lock).Scan(&free); err != nil {
			return err
		}
		if !free {
			return ErrBusy
		}
	}
	return nil
}

// begin begins a transaction with the snapshot of that id, or with a new one, and returns the id.
func (s *snapshot) begin(ctx context.Context, conn *pgxpool.Conn, id string) (string, error) {
	if _, err := conn.Exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"); err != nil {
		return "", err
	}
	if id == "" {
		if _, err := conn.Exec(ctx, audit.LockRetired); err != nil {
			return "", err
		}
		if err := conn.QueryRow(ctx, s.statements.Get("snapshot")).Scan(&id); err != nil {
			return "", err
		}
	} else {
		if !regexp.MustCompile(`^[0-9A-Fa-f-]+$`).MatchString(id) { // it cannot be bound
			return "", fmt.Errorf("invalid snapshot id %q", id)
		}
		if _, err := conn.Exec(ctx, "SET TRANSACTION SNAPSHOT '"+id+"'"); err != nil {
			return "", err
		}
	}
	_, err := conn.Exec(ctx, "SET LOCAL work_mem = '"+sortMemory+"'; SET LOCAL jit = off; SET LOCAL idle_in_transaction_session_timeout = 0",
		pgx.QueryExecModeSimpleProtocol)
	return id, err
}

func (s *snapshot) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	for _, conn := range s.conns {
		_, _ = conn.Exec(ctx, "ROLLBACK") // nothing was written; the pool drops a broken connection
		conn.Release()
	}
	s.exclusion.End(ctx)
}

// state is the state of the database in this snapshot.
type state struct {
	database  string // a random id that it got with its schema
	epoch     int64  // counts the commits that changed data
	lastFile  int64  // of the loaded ones
	head      string // of the audit chain
	users     int64
	summaries string // changes with user_summary
	months    []monthState

	retiredBefore string    // the first day that is not retired, as YYYY-MM-DD; "": no day is
	retired       money.Sum // the share of retired months that the rollups have
}

// monthState is a month that has transactions. Its fields are in the order of the statement's columns.
type monthState struct {
	First civil.Date
	Rows  int64
	Days  string // with the last change of each

	Retired bool // transactions has none of its rows any more
}

func (s *snapshot) state(ctx context.Context) (st state, err error) {
	err = s.withoutLocks(ctx, 0, func(conn *pgxpool.Conn) (err error) {
		st, err = readState(ctx, conn, s.statements)
		return err
	})
	return st, err
}

type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func readState(ctx context.Context, db querier, statements sqlfile.Statements) (st state, err error) {
	err = db.QueryRow(ctx, statements.Get("state")).
		Scan(&st.epoch, &st.database, &st.lastFile, &st.head, &st.users, &st.summaries, &st.retiredBefore, &st.retired)
	if err != nil {
		return st, fmt.Errorf("read the state: %w", err)
	}
	rows, _ := db.Query(ctx, statements.Get("months")) // CollectRows returns its error
	if st.months, err = pgx.CollectRows(rows, pgx.RowToStructByPos[monthState]); err != nil {
		return st, fmt.Errorf("read the months: %w", err)
	}
	return st, nil
}

// withoutLocks releases the locks on tables after do: it rolls back to a savepoint. Otherwise a
// load that locks a table would wait for the whole export, and everyone else for that load.
func (s *snapshot) withoutLocks(ctx context.Context, reader int, do func(*pgxpool.Conn) error) error {
	conn := s.conns[reader]
	if _, err := conn.Exec(ctx, "SAVEPOINT reading"); err != nil {
		return err
	}
	if err := do(conn); err != nil {
		return err // which ends the transaction
	}
	_, err := conn.Exec(ctx, "ROLLBACK TO SAVEPOINT reading")
	return err
}

// ping verifies that the snapshot, and with it the target's lock, still exists, and that no load wrote.
func (s *snapshot) ping(ctx context.Context) error {
	for _, conn := range s.conns {
		if _, err := conn.Exec(ctx, "SELECT 1"); err != nil {
			return fmt.Errorf("the snapshot is lost: %w", err)
		}
	}
	return s.exclusion.Check(ctx)
}

// read calls row with the values of each row of a task, in PostgreSQL's binary form, which are
// valid until the next row. After an error of row the connection cannot be used again.
func (s *snapshot) read(ctx context.Context, reader int, t task, row func([][]byte) error) error {
	if t.table.by != whole && t.files[0].month == 0 {
		return nil // there are no rows
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var list []civil.Month
	for _, p := range t.files {
		list = append(list, p.month)
	}
	args := append([]any{pgx.QueryExecModeDescribeExec, pgx.QueryResultFormats{pgx.BinaryFormatCode}}, t.table.args(list)...)
	return s.withoutLocks(ctx, reader, func(conn *pgxpool.Conn) error {
		rows, err := conn.Query(ctx, t.table.sql, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			if err := row(rows.RawValues()); err != nil {
				cancel() // otherwise Close would read the rest
				return err
			}
		}
		return rows.Err()
	})
}
