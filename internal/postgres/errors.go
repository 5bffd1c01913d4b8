package postgres

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// SQLSTATE classes and codes after which the same work may succeed later; see
// "PostgreSQL Error Codes" in PostgreSQL's documentation.
var retryableClasses = [...]string{
	"08", // connection exception
	"40", // transaction rollback: serialization failure, deadlock
	"53", // insufficient resources: disk full, out of memory, too many connections
	"57", // operator intervention: shutdown, crash shutdown, cannot connect now
	"58", // system error: I/O
}

const (
	lockNotAvailable    = "55P03"
	readOnlyTransaction = "25006" // a primary that has become a replica
	queryCanceled       = "57014" // in class 57, and yet nobody's outage
)

// Retryable says whether the work that failed with err may succeed when it is
// tried again: the database was away, shutting down, out of room or in the way
// of another transaction. A wrong statement, a refused row or a cancelled
// context is not.
func Retryable(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) {
		return false
	}
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return retryableState(pgErr.Code)
	}
	if pgconn.SafeToRetry(err) || pgconn.Timeout(err) {
		return true
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	// Not any net.Error: a syscall.Errno is one as well, that of a file too.
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return true
	}
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, pgconn.ErrConnClosed)
}

func retryableState(code string) bool {
	if code == queryCanceled {
		return false
	}
	if code == lockNotAvailable || code == readOnlyTransaction {
		return true
	}
	for _, class := range retryableClasses {
		if strings.HasPrefix(code, class) {
			return true
		}
	}
	return false
}

// State is err's SQLSTATE, or "" where err did not come from PostgreSQL.
func State(err error) string {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pgErr.Code
	}
	return ""
}

// Constraint is the name of the constraint that err speaks of, or "".
func Constraint(err error) string {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pgErr.ConstraintName
	}
	return ""
}
