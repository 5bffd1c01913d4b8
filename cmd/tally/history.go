package main

import (
	"context"
	"fmt"

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
		columns := []column{{"from", kindText}, {"to", kindText}, {"cause", kindText}, {"user", kindNumber}, {"amount", kindNumber}, {"date", kindText}, {"file", kindLong}, {"line", kindNumber}}
		var rows [][]string
		for _, v := range versions {
			to := "now"
			if v.To != nil {
				to = v.To.UTC().Format(form)
			}
			rows = append(rows, []string{
				v.From.UTC().Format(form), to, v.Cause, fmt.Sprint(v.UserID), fmt.Sprint(v.Amount), v.Date.String(), fmt.Sprint(v.FileID, " ", v.Path), fmt.Sprint(v.Line),
			})
		}
		return env.terminal.table(env.stdout, columns, rows)
	})
}
