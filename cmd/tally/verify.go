package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/opentax/tally/jobs"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/synthetic"
	"github.com/opentax/tally/summaries"
)

type generateCmd struct {
	Rows  int64  `default:"10000" help:"Rows."`
	Users int    `default:"1000" help:"Users of the rows."`
	Seed  uint64 `default:"1" help:"The same seed gives the same bytes."`
}

func (cmd generateCmd) Run(ctx context.Context, env *environment) error {
	if cmd.Rows < 0 || cmd.Users < 1 {
		return usageError{errors.New("--rows must be at least 0 and --users at least 1")}
	}
	return synthetic.Write(ctx, env.stdout, synthetic.File{Rows: cmd.Rows, Users: cmd.Users, Seed: cmd.Seed})
}

// maxPrinted bounds the differences of one table that are printed.
const maxPrinted = 100

type verifyCmd struct {
	Full bool `help:"Compare every key with its recomputation, although the sums are the same."`
	JSON bool `help:"Print one JSON document."`
}

func (cmd verifyCmd) Run(ctx context.Context, env *environment) error {
	return env.withService(ctx, func(service *jobs.Service) error {
		drift, printed := []summaries.Drift{}, map[string]int{} // JSON has no null for it
		bar, began := newProgress(env.stderr), time.Now()
		request := jobs.VerifyRequest{RequestedBy: requestedBy(), Report: func(d summaries.Drift) {
			if cmd.JSON {
				drift = append(drift, d)
				return
			}
			bar.finish() // the next report draws it again
			printed[d.Relation]++
			switch n := printed[d.Relation]; {
			case n <= maxPrinted:
				fmt.Fprintln(env.stdout, d)
			case n == maxPrinted+1:
				fmt.Fprintf(env.stdout, "%s: there are more (--json prints all)\n", d.Relation)
			}
		}}
		request.Full = cmd.Full
		request.Progress = func(rows int64, share float64) {
			bar.report(pipeline.Progress{Stage: pipeline.StageVerify, Rows: rows, Share: share, Seconds: time.Since(began).Seconds()})
		}
		v, err := service.Verify(ctx, request)
		bar.finish()
		if err != nil {
			return err
		}
		verdict := env.terminal.paint(green, "clean:")
		if !v.Clean() {
			verdict = env.terminal.paint(red, fmt.Sprintf("%d differences in", v.Drifts))
		}
		if cmd.JSON {
			err = writeJSON(env.stdout, struct {
				summaries.Verification
				Drift []summaries.Drift `json:"drift"`
			}{v, drift})
		} else {
			printLost(env.stdout, v)
			_, err = fmt.Fprintf(env.stdout, "%s %d transactions, %d users, %d days, %d files\n", verdict, v.Transactions, v.Users, v.Days, v.Files)
		}
		if err == nil && !v.Clean() {
			err = errFailed
		}
		return err
	})
}

// printLost prints keys without a row, rows without a key, and what to do.
func printLost(w io.Writer, v summaries.Verification) {
	if v.OrphanKeys.Count > 0 {
		fmt.Fprintf(w, "keys without a row: %s\n", v.OrphanKeys)
	}
	if v.RowsWithoutKey.Count > 0 {
		fmt.Fprintf(w, "rows without a key: %s\n", v.RowsWithoutKey)
	}
	if !v.Clean() {
		fmt.Fprintf(w, "next: %s\n", v.NextStep())
	}
}

func writeJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}
