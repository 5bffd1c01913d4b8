package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/opentax/tally/api"
)

type tokenCmd struct {
	Add    tokenAddCmd    `cmd:"" help:"Add a token and print its secret, which is shown only once."`
	List   tokenListCmd   `cmd:"" help:"List the tokens, including revoked ones."`
	Revoke tokenRevokeCmd `cmd:"" help:"Revoke a token, in every process within a second."`
}

// caller is the user of the command line, for the audit trail.
func caller() api.Caller {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return api.Caller{Actor: requestedBy(), Origin: fmt.Sprintf("%s:%d", host, os.Getpid())}
}

type tokenAddCmd struct {
	Name string `arg:"" help:"Name of the token's owner in the audit trail."`
	Role string `required:"" enum:"reader,operator" help:"reader: may read; operator: may also make changes."`
}

func (cmd tokenAddCmd) Run(ctx context.Context, env *environment) error {
	return env.withDatabase(ctx, func(db *database) error {
		secret, err := api.NewTokens(db.pool).Add(ctx, cmd.Name, api.Role(cmd.Role), caller())
		if errors.Is(err, api.ErrTokenName) || errors.Is(err, api.ErrTokenRole) {
			return usageError{err}
		}
		if err != nil {
			return err
		}
		fmt.Fprintln(env.stderr, "This is the only time that the secret is shown:")
		fmt.Fprintln(env.stdout, secret)
		return nil
	})
}

type tokenListCmd struct {
	JSON bool `help:"Print one JSON document."`
}

func (cmd tokenListCmd) Run(ctx context.Context, env *environment) error {
	return env.withDatabase(ctx, func(db *database) error {
		list, err := api.NewTokens(db.pool).List(ctx)
		if err != nil {
			return err
		}
		if cmd.JSON {
			return writeJSON(env.stdout, map[string][]api.Token{"tokens": list})
		}
		columns := []column{{"name", kindLong}, {"role", kindText}, {"added", kindText}, {"by", kindLong}, {"revoked", kindText}, {"by", kindLong}}
		var rows [][]string
		for _, t := range list {
			revoked := ""
			if !t.RevokedAt.IsZero() {
				revoked = t.RevokedAt.UTC().Format(time.DateTime)
			}
			rows = append(rows, []string{t.Name, string(t.Role), t.CreatedAt.UTC().Format(time.DateTime), t.CreatedBy, revoked, t.RevokedBy})
		}
		return env.terminal.table(env.stdout, columns, rows)
	})
}

type tokenRevokeCmd struct {
	Name string `arg:"" help:"Name of the token."`
}

func (cmd tokenRevokeCmd) Run(ctx context.Context, env *environment) error {
	return env.withDatabase(ctx, func(db *database) error {
		if err := api.NewTokens(db.pool).Revoke(ctx, cmd.Name, caller()); err != nil {
			return err
		}
		// The next line must be true of every process.
		select {
		case <-time.After(api.RevokedWithin):
		case <-ctx.Done():
		}
		fmt.Fprintf(env.stdout, "%s is revoked\n", cmd.Name)
		return nil
	})
}
