package postgres

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
)

// Scope is what may have caused a trouble.
type Scope int

// The scopes.
const (
	ScopeWork   Scope = iota // this work, as long as another statement succeeds
	ScopeShared              // this work if other work of its kind succeeds, and else the server
	ScopeServer              // the server, whatever was sent
)

// Trouble is why work failed that was right in itself: a state of the server, or of the
// way to it. Another try may succeed.
type Trouble struct {
	Name  string
	Scope Scope
	// Passing reports whether it is likely to pass by itself within moments, or hours.
	Passing bool
	Fix     string // for the server's administrator
	states  []string
}

// troubles are all of them, by SQLSTATE or its class (two characters). A state decides
// before a class does.
func troubles() []Trouble {
	return []Trouble{
		lost("08", pgerrcode.AdminShutdown, pgerrcode.CrashShutdown, pgerrcode.IdleSessionTimeout, "57"),
		unreachable(pgerrcode.CannotConnectNow, pgerrcode.SQLClientUnableToEstablishSQLConnection,
			pgerrcode.SQLServerRejectedEstablishmentOfSQLConnection, pgerrcode.DatabaseDropped),
		{"read_only", ScopeServer, true, "connect to the primary", []string{pgerrcode.ReadOnlySQLTransaction}},
		{"too_many_connections", ScopeServer, true, "raise max_connections, or lower pool_max_conns", []string{pgerrcode.TooManyConnections}},
		{"disk_full", ScopeShared, true, "free or add disk space on the database server", []string{pgerrcode.DiskFull, "53"}},
		{"out_of_memory", ScopeShared, true, "lower work_mem and maintenance_work_mem, or add memory to the database server", []string{pgerrcode.OutOfMemory}},
		{"limit_exceeded", ScopeWork, true, "raise the limit that the error names, such as temp_file_limit", []string{pgerrcode.ConfigurationLimitExceeded}},
		{"conflict", ScopeWork, true, "look in pg_locks for a session that holds locks", []string{"40", pgerrcode.LockNotAvailable}},
		{"timeout", ScopeWork, false, "raise statement_timeout in the connection URL, or look for who cancels its statements", []string{pgerrcode.QueryCanceled}},
		{"timeout", ScopeWork, true, "raise transaction_timeout and idle_in_transaction_session_timeout in the connection URL",
			[]string{pgerrcode.IdleInTransactionSessionTimeout, transactionTimeout}},
		{"io_error", ScopeWork, true, "look at the database server's log and disks", []string{"58"}},
		// A cluster reports the troubles of its nodes as internal errors too.
		{"internal_error", ScopeShared, false, "look at the logs of the database server (of a cluster's nodes too), and check the tables with pg_amcheck",
			[]string{pgerrcode.InternalError}},
		{"corrupted", ScopeWork, false, "look at the database server's log, and check the tables with pg_amcheck", []string{"XX"}},
	}
}

// transactionTimeout is a state since PostgreSQL 17.
const transactionTimeout = "25P04"

func lost(states ...string) Trouble {
	return Trouble{"connection_lost", ScopeShared, true, "look at the database server's log for why it ended the connection", states}
}

func unreachable(states ...string) Trouble {
	return Trouble{"unavailable", ScopeServer, true, "start the database server, or check its address", states}
}

// TroubleOf finds the trouble that an error is about. A wrong statement, a refused row or
// a cancelled context is none.
func TroubleOf(err error) (Trouble, bool) {
	if err == nil || errors.Is(err, context.Canceled) {
		return Trouble{}, false
	}
	if state := State(err); state != "" {
		return troubleOfState(state)
	}
	_, connecting := errors.AsType[*pgconn.ConnectError](err)
	_, resolving := errors.AsType[*net.DNSError](err)
	switch {
	case connecting || resolving:
		return unreachable(), true
	case pgconn.SafeToRetry(err) || pgconn.Timeout(err) || connectionLost(err):
		return lost(), true
	}
	return Trouble{}, false
}

func troubleOfState(state string) (Trouble, bool) {
	for _, prefix := range []string{state, state[:min(2, len(state))]} {
		for _, t := range troubles() {
			if slices.Contains(t.states, prefix) {
				return t, true
			}
		}
	}
	return Trouble{}, false
}

// connectionLost looks for errors of the network; not for any net.Error, since a
// syscall.Errno is one as well, that of a file too.
func connectionLost(err error) bool {
	for _, cause := range []error{io.ErrUnexpectedEOF, io.EOF, net.ErrClosed, pgconn.ErrConnClosed} {
		if errors.Is(err, cause) {
			return true
		}
	}
	_, operating := errors.AsType[*net.OpError](err)
	return operating
}

// String is the name in words.
func (t Trouble) String() string { return strings.ReplaceAll(t.Name, "_", " ") }
