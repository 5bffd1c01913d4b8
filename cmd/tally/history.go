package main

import (
	"context"
	"fmt"
	"time"

	"github.com/opentax/tally/jobs/ledger"
)

type historyCmd struct {
	TransactionID string `arg:"" help:"The source's id of the transaction."`
	JSON          bool   `help:"Print one JSON document."`
}

func (cmd historyCmd) Run(ctx context.Context, env *environment) error {
	return env.withDatabase(ctx, func(db *database) error {
		history, err := ledger.NewStore(db.pool).History(ctx, cmd.TransactionID)
		if err != nil {
			return fmt.Errorf("history %s: %w", cmd.TransactionID, err)
		}
		if cmd.JSON {
			return writeJSON(env.stdout, history)
		}
		return cmd.print(env, history)
	})
}

func (historyCmd) print(env *environment, h ledger.History) error {
	if r := h.Retired; r != nil {
		where := "no longer in the database"
		if r.KeptTable != "" {
			where = "in the table " + r.KeptTable
		}
		if r.Exported != "" {
			where += ", and in " + r.Exported
		}
		fmt.Fprintf(env.stdout, "retired: its month %s was retired on %s, with totals %s; its key is known, for user %d and %s; its row is %s\n",
			r.Month, r.At.UTC().Format(time.DateOnly), r.Totals, r.UserID, r.Date, printable(where))
	}
	if len(h.Versions) == 0 {
		return nil
	}
	const form = "2006-01-02 15:04:05Z"
	columns := []column{{"from", kindText}, {"to", kindText}, {"cause", kindText}, {"user", kindNumber}, {"amount", kindNumber}, {"date", kindText}, {"file", kindLong}, {"line", kindNumber}}
	var rows [][]string
	for _, v := range h.Versions {
		to := "now"
		if v.To != nil {
			to = v.To.UTC().Format(form)
		}
		rows = append(rows, []string{
			v.From.UTC().Format(form), to, v.Cause, fmt.Sprint(v.UserID), fmt.Sprint(v.Amount), v.Date.String(), fmt.Sprint(v.FileID, " ", v.Path), fmt.Sprint(v.Line),
		})
	}
	return env.terminal.table(env.stdout, columns, rows)
}
