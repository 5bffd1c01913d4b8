package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/reject"
	"github.com/opentax/tally/jobs"
	"github.com/opentax/tally/jobs/ledger"
)

type partitionsCmd struct {
	List   partitionsListCmd   `cmd:"" help:"List the months of transactions, and those that were retired."`
	Retire partitionsRetireCmd `cmd:"" help:"Take old months out of transactions. Their ids stay known."`
}

type partitionsListCmd struct {
	JSON bool `help:"Print one JSON document."`
}

func (cmd partitionsListCmd) Run(ctx context.Context, env *environment) error {
	return env.withDatabase(ctx, func(db *database) error {
		list, err := ledger.NewStore(db.pool).Partitions(ctx)
		if err != nil {
			return err
		}
		if cmd.JSON {
			return writeJSON(env.stdout, map[string]any{"partitions": list})
		}
		columns := []column{{"month", kindText}, {"rows", kindNumber}, {"sum", kindNumber}, {"size", kindNumber}, {"last change", kindText}, {"exported", kindText}, {"state", kindLong}}
		var rows [][]string
		for _, p := range list {
			rows = append(rows, []string{
				p.Month, fmt.Sprint(p.Rows), fmt.Sprint(p.TotalAmount), megabytes(p.Bytes), changed(p), yes(p.Exported), state(p),
			})
		}
		return env.terminal.table(env.stdout, columns, rows)
	})
}

func changed(p ledger.Partition) string {
	if p.ChangedAt == nil {
		return ""
	}
	return p.ChangedAt.UTC().Format(time.DateOnly)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func state(p ledger.Partition) string {
	switch {
	case p.KeptTable != "":
		return "retired, totals " + p.Totals + ", table " + p.KeptTable
	case p.Totals != "":
		return "retired, totals " + p.Totals
	case p.Sparse:
		return "stored, fewer than 100 rows"
	default:
		return p.State
	}
}

type partitionsRetireCmd struct {
	Before     string          `required:"" placeholder:"YYYY-MM" help:"Retire all months before this one."`
	KeepTotals bool            `xor:"totals" required:"" help:"Keep the share of the months in the rollups."`
	DropTotals bool            `xor:"totals" required:"" help:"Take the share of the months out of the rollups."`
	ExportTo   bucket.Location `placeholder:"DIR|URL" help:"Export to this target first; the rows are dropped when it has them."`
	Drop       bool            `help:"Drop the rows without an export."`
	KeepTables bool            `help:"Keep the rows in tables of their own, outside transactions."`
	DryRun     bool            `help:"Change nothing: print what would be retired."`
	Reason     string          `help:"Why, for the audit chain."`
	JSON       bool            `help:"Print one JSON document."`
}

func (cmd partitionsRetireCmd) Run(ctx context.Context, env *environment) error {
	before, err := civil.ParseMonth(cmd.Before)
	if err != nil {
		return usageError{fmt.Errorf("--before %s: want a month, as in 2020-01", cmd.Before)}
	}
	if exported := !cmd.ExportTo.IsZero(); cmd.Drop && (exported || cmd.KeepTables) || !cmd.Drop && !exported && !cmd.KeepTables && !cmd.DryRun {
		return usageError{errors.New("say what becomes of the rows: --export-to, --keep-tables, or --drop without either")}
	}
	to, err := cmd.ExportTo.Abs()
	if err != nil {
		return usageError{fmt.Errorf("--export-to: %w", err)}
	}
	req := jobs.RetireRequest{ExportTo: to, By: audit.By{Actor: requestedBy(), Reason: cmd.Reason}, DryRun: cmd.DryRun}
	req.Before, req.KeepTotals, req.KeepTables = before, cmd.KeepTotals, cmd.KeepTables
	if err := req.Check(); err != nil {
		return usageError{fmt.Errorf("--before %s: %w", cmd.Before, err)}
	}
	return env.withService(ctx, func(service *jobs.Service) error {
		bar := newProgress(env.stderr)
		req.Progress = bar.report
		r, err := service.Retire(ctx, req)
		bar.finish()
		if err != nil {
			return err
		}
		if cmd.JSON {
			return writeJSON(env.stdout, r)
		}
		return cmd.print(env, r)
	})
}

func (cmd partitionsRetireCmd) print(env *environment, r reject.RetireResult) error {
	for _, m := range r.Months {
		fmt.Fprintf(env.stdout, "%s: %d rows, %s\n", m.Month, m.Rows, m.TotalAmount)
	}
	verb := "retired"
	if cmd.DryRun {
		verb = "to retire"
	}
	_, err := fmt.Fprintf(env.stdout, "%d months %s: %d rows, %s\n", len(r.Months), verb, r.Rows, r.TotalAmount)
	return err
}
