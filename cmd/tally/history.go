package main

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/opentax/tally/jobs/ledger"
)

type historyCmd struct {
	TransactionID string `arg:"" help:"The source's id of the transaction."`
	JSON          bool   `help:"Print one JSON document."`
}

func (cmd historyCmd) Run(ctx context.Context, env *environment) error {
	return env.withDatabase(ctx, func(db *database) error {
		versions, err := ledger.NewStore(db.pool).History(ctx, cmd.TransactionID)
		if err != nil {
			return fmt.Errorf("history %s: %w", cmd.TransactionID, err)
		}
		if cmd.JSON {
			return writeJSON(env.stdout, map[string]any{"versions": versions})
		}
		const form = "2006-01-02 15:04:05Z"
		w := tabwriter.NewWriter(env.stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "FROM\tTO\tCAUSE\tUSER\tAMOUNT\tDATE\tFILE\tLINE")
		for _, v := range versions {
			to := "now"
			if v.To != nil {
				to = v.To.UTC().Format(form)
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%d %s\t%d\n", v.From.UTC().Format(form), to, v.Cause, v.UserID, v.Amount, v.Date, v.FileID, v.Path, v.Line)
		}
		return w.Flush()
	})
}
