package postgres

import (
	"context"
	"errors"
	"io"
	"net"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
)

// Retryable reports whether the work that failed with err may succeed when it is tried
// again: the database was unavailable, shutting down, out of room or in the way of
// another transaction, or an error says so of itself with a method Retryable, as those
// of an object store that is unavailable do. A wrong statement, a refused row or a
// cancelled context is not.
func Retryable(err error) bool {
	if own, ok := errors.AsType[interface {
		error
		Retryable() bool
	}](err); ok {
		return own.Retryable()
	}
	if err == nil || errors.Is(err, context.Canceled) {
		return false
	}
	if state := State(err); state != "" {
		return retryableState(state)
	}
	return pgconn.SafeToRetry(err) || pgconn.Timeout(err) || connectionLost(err)
}

// retryableState goes by the classes of PostgreSQL's error codes. A cancelled query is in
// a class of outages, and none.
func retryableState(code string) bool {
	switch code {
	case pgerrcode.QueryCanceled:
		return false
	case pgerrcode.LockNotAvailable, pgerrcode.ReadOnlySQLTransaction: // the latter on a primary that has become a replica
		return true
	}
	return pgerrcode.IsConnectionException(code) || pgerrcode.IsTransactionRollback(code) ||
		pgerrcode.IsInsufficientResources(code) || pgerrcode.IsOperatorIntervention(code) || pgerrcode.IsSystemError(code)
}

// connectionLost looks for errors of the network; not for any net.Error, since a
// syscall.Errno is one as well, that of a file too.
func connectionLost(err error) bool {
	for _, cause := range []error{io.ErrUnexpectedEOF, io.EOF, net.ErrClosed, pgconn.ErrConnClosed} {
		if errors.Is(err, cause) {
			return true
		}
	}
	_, connecting := errors.AsType[*pgconn.ConnectError](err)
	_, operating := errors.AsType[*net.OpError](err)
	_, resolving := errors.AsType[*net.DNSError](err)
	return connecting || operating || resolving
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
