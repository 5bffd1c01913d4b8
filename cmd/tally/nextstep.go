package main

import (
	"errors"

	"github.com/alecthomas/kong"
	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
)

// nextStep is what to do about an error that does not say it itself; empty if nothing is
// known.
func nextStep(err error) string {
	if wrong, ok := errors.AsType[*kong.ParseError](err); ok {
		return "tally " + commandOf(wrong.Context) + "--help"
	}
	answer, answered := errors.AsType[*pgconn.PgError](err)
	_, connecting := errors.AsType[*pgconn.ConnectError](err)
	switch {
	case answered && connecting && (answer.Code == pgerrcode.InvalidPassword || answer.Code == pgerrcode.InvalidAuthorizationSpecification):
		return "correct the user or the password, in DATABASE_URL or PGPASSWORD"
	case answered && answer.Code == pgerrcode.InvalidCatalogName:
		return "create the database (createdb NAME), or correct its name in DATABASE_URL"
	case answered && answer.Code == pgerrcode.InsufficientPrivilege:
		return "connect as the owner of the tables, or have the owner grant the right"
	case answered && answer.Code == pgerrcode.TooManyConnections:
		return "raise max_connections of the server, or lower pool_max_conns in DATABASE_URL"
	case connecting && !answered:
		return "start the database, or correct the host and port in DATABASE_URL"
	}
	return ""
}

// commandOf is the command as far as it was understood, with a space.
func commandOf(c *kong.Context) (command string) {
	if c == nil {
		return ""
	}
	for _, element := range c.Path {
		if element.Command != nil {
			command += element.Command.Name + " "
		}
	}
	return command
}
