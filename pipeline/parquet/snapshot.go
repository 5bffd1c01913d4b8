package parquet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/sqlfile"
)

// readers is how many connections read at once. Each keeps a server process busy, and
// a core of this one.
const readers = 2

// sortMemory is what a reader's sort may take of the server's memory before it goes to
// disk.
const sortMemory = "64MB"

// LockClass is the first half of the advisory lock that an export holds; the other half is
// hashtext of its target.
const LockClass = 0x6c616b65

// snapshot is a moment of the database, seen through several connections.
type snapshot struct {
	conns      []*pgxpool.Conn
	statements sqlfile.Statements
}

// openSnapshot begins a transaction on each connection, all of which see the same. Until
// it is closed no other one has the same target: [ErrBusy]. With "" it has none.
func openSnapshot(ctx context.Context, pool *pgxpool.Pool, target string) (s *snapshot, err error) {
	s = &snapshot{statements: sqlfile.Parse(exportSQL)}
	defer func() {
		if err != nil {
			s.close(ctx)
			s, err = nil, fmt.Errorf("take a snapshot: %w", err)
		}
	}()
	var id string
	for len(s.conns) < min(readers, max(1, int(pool.Config().MaxConns)-1)) {
		conn, err := pool.Acquire(ctx)
		if err != nil {
			return s, err
		}
		s.conns = append(s.conns, conn)
		if id, err = s.begin(ctx, conn, id); err != nil {
			return s, err
		}
		if len(s.conns) > 1 || target == "" {
			continue
		}
		var free bool
		if err := conn.QueryRow(ctx, s.statements.Get("lock"), LockClass, target).Scan(&free); err != nil {
			return s, err
		}
		if !free {
			return s, ErrBusy
		}
	}
	return s, nil
}

// begin begins a transaction that sees the snapshot of that id, or a new one, whose id
// it returns.
func (s *snapshot) begin(ctx context.Context, conn *pgxpool.Conn, id string) (string, error) {
	if _, err := conn.Exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"); err != nil {
		return "", err
	}
	if id == "" {
		if err := conn.QueryRow(ctx, s.statements.Get("snapshot")).Scan(&id); err != nil {
			return "", err
		}
	} else {
		// No statement takes this as an argument.
		if !regexp.MustCompile(`^[0-9A-Fa-f-]+$`).MatchString(id) {
			return "", fmt.Errorf("%q is no snapshot", id)
		}
		if _, err := conn.Exec(ctx, "SET TRANSACTION SNAPSHOT '"+id+"'"); err != nil {
			return "", err
		}
	}
	_, err := conn.Exec(ctx, "SET LOCAL work_mem = '"+sortMemory+"'; SET LOCAL jit = off; SET LOCAL idle_in_transaction_session_timeout = 0", pgx.QueryExecModeSimpleProtocol)
	return id, err
}

func (s *snapshot) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	for _, conn := range s.conns {
		_, _ = conn.Exec(ctx, "ROLLBACK") // nothing was written; a connection that is broken goes by itself
		conn.Release()
	}
}

// state is the state of the database in this snapshot.
type state struct {
	database string // a random id that it was given when its schema was made
	epoch    int64  // counts the commits that changed user_summary
	lastFile int64  // of the loaded ones
	users    int64
	// summaries tells one content of user_summary from another.
	summaries string
	months    []monthState
}

// monthState is a month that has transactions.
type monthState struct {
	month       civil.Month
	rows        int64
	fingerprint string // of which days there are, and which file has changed each last
}

func (s *snapshot) state(ctx context.Context) (st state, err error) {
	err = s.withoutLocks(ctx, 0, func() error {
		st, err = s.readState(ctx)
		return err
	})
	return st, err
}

func (s *snapshot) readState(ctx context.Context) (state, error) {
	var st state
	conn := s.conns[0]
	if err := conn.QueryRow(ctx, s.statements.Get("state")).Scan(&st.epoch, &st.database, &st.lastFile, &st.users, &st.summaries); err != nil {
		return st, fmt.Errorf("read the state: %w", err)
	}
	rows, err := conn.Query(ctx, s.statements.Get("months"))
	if err != nil {
		return st, fmt.Errorf("read the months: %w", err)
	}
	var m monthState
	var first civil.Date
	var days string
	_, err = pgx.ForEachRow(rows, []any{&first, &m.rows, &days}, func() error {
		m.month = first.Month()
		sum := sha256.Sum256([]byte(days))
		m.fingerprint = hex.EncodeToString(sum[:])
		st.months = append(st.months, m)
		return nil
	})
	if err != nil {
		return st, fmt.Errorf("read the months: %w", err)
	}
	return st, nil
}

// withoutLocks does something in a part of the reader's transaction that is taken back
// afterwards, so that no lock on a table outlives the reading: a load that has to lock
// one would wait for the whole export, and everybody else for the load.
func (s *snapshot) withoutLocks(ctx context.Context, reader int, do func() error) error {
	conn := s.conns[reader]
	if _, err := conn.Exec(ctx, "SAVEPOINT reading"); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err // the transaction ends with it
	}
	_, err := conn.Exec(ctx, "ROLLBACK TO SAVEPOINT reading")
	return err
}

// ping reports whether the snapshot, and with it the target's lock, still exists.
func (s *snapshot) ping(ctx context.Context) error {
	for _, conn := range s.conns {
		if _, err := conn.Exec(ctx, "SELECT 1"); err != nil {
			return fmt.Errorf("the snapshot is lost: %w", err)
		}
	}
	return nil
}

// read gives each row of a task, its values in PostgreSQL's binary form, which are gone
// with the next one. After an error of row the connection is of no more use.
func (s *snapshot) read(ctx context.Context, reader int, t task, row func([][]byte) error) error {
	if t.table.by != whole && t.files[0].month == 0 {
		return nil // there are no rows
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	args := append([]any{pgx.QueryExecModeDescribeExec, pgx.QueryResultFormats{pgx.BinaryFormatCode}}, t.args()...)
	return s.withoutLocks(ctx, reader, func() error {
		rows, err := s.conns[reader].Query(ctx, t.table.sql, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			if err := row(rows.RawValues()); err != nil {
				cancel() // else the rest would be read as well
				return err
			}
		}
		return rows.Err()
	})
}

// args are those of the table's statement.
func (t task) args() []any {
	firsts := make([]civil.Date, len(t.files))
	for i, p := range t.files {
		firsts[i] = p.month.First()
	}
	switch t.table.by {
	case month:
		return []any{firsts[0], (t.files[0].month + 1).First()}
	case months:
		return []any{firsts}
	default:
		return nil
	}
}
