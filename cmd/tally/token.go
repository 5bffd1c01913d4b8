package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/opentax/tally/api"
)

type tokenCmd struct {
	Add    tokenAddCmd    `cmd:"" help:"Make a token and print its secret, which is shown this once."`
	List   tokenListCmd   `cmd:"" help:"List the tokens, revoked ones included."`
	Revoke tokenRevokeCmd `cmd:"" help:"End a token, for every process within a second."`
}

// caller is who is at the command line, for the audit trail.
func caller() api.Caller {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return api.Caller{Actor: requestedBy(), Origin: fmt.Sprintf("%s:%d", host, os.Getpid())}
}

type tokenAddCmd struct {
	Name string `arg:"" help:"Whose token it is, as the audit trail names them."`
	Role string `required:"" enum:"reader,operator" help:"reader: may read; operator: may also change something."`
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
		return env.printTokens(list)
	})
}

func (env *environment) printTokens(list []api.Token) error {
	table := tabwriter.NewWriter(env.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "name\trole\tadded\tby\trevoked\tby")
	for _, t := range list {
		revoked := ""
		if !t.RevokedAt.IsZero() {
			revoked = t.RevokedAt.UTC().Format(time.DateTime)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", t.Name, t.Role, t.CreatedAt.UTC().Format(time.DateTime), t.CreatedBy, revoked, t.RevokedBy)
	}
	return table.Flush()
}

type tokenRevokeCmd struct {
	Name string `arg:"" help:"The token to end."`
}

func (cmd tokenRevokeCmd) Run(ctx context.Context, env *environment) error {
	return env.withDatabase(ctx, func(db *database) error {
		if err := api.NewTokens(db.pool).Revoke(ctx, cmd.Name, caller()); err != nil {
			return err
		}
		// Whoever reads the next line may rely on it, so not before every process does.
		select {
		case <-time.After(api.RevokedWithin):
		case <-ctx.Done():
		}
		fmt.Fprintf(env.stdout, "%s is revoked\n", cmd.Name)
		return nil
	})
}
