package postgres

import (
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
)

// Retryable reports whether the work that failed with err may succeed when it is tried
// again: it met a [Trouble] that passes, or an error says so of itself with a method
// Retryable, as those of an object store that is unavailable do.
func Retryable(err error) bool {
	if own, ok := errors.AsType[interface {
		error
		Retryable() bool
	}](err); ok {
		return own.Retryable()
	}
	t, ok := TroubleOf(err)
	return ok && t.Passing
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
