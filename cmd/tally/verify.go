package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

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

type verifyCmd struct {
	Full bool `help:"Compare every key with its recomputation, although the sums are the same."`
	JSON bool `help:"Print one JSON document."`
}

func (cmd verifyCmd) Run(ctx context.Context, env *environment) error {
	return env.withDatabase(ctx, func(db *database) error {
		drift := []summaries.Drift{} // JSON has no null for it
		bar, began := newProgress(env.stderr), time.Now()
		v, err := summaries.Verify(ctx, db.pool, summaries.VerifyOptions{
			Full: cmd.Full,
			Progress: func(rows int64, share float64) {
				bar.report(pipeline.Progress{Stage: pipeline.StageVerify, Rows: rows, Share: share, Seconds: time.Since(began).Seconds()})
			},
		}, func(d summaries.Drift) {
			if cmd.JSON {
				drift = append(drift, d)
				return
			}
			bar.finish() // the next report draws it again
			fmt.Fprintln(env.stdout, d)
		})
		bar.finish()
		if err != nil {
			return err
		}
		verdict := "clean:"
		if !v.Clean() {
			verdict = fmt.Sprintf("%d differences in", v.Drifts)
		}
		if cmd.JSON {
			err = writeJSON(env.stdout, struct {
				summaries.Verification
				Drift []summaries.Drift `json:"drift"`
			}{v, drift})
		} else {
			_, err = fmt.Fprintf(env.stdout, "%s %d transactions, %d users, %d days, %d files\n", verdict, v.Transactions, v.Users, v.Days, v.Files)
		}
		if err == nil && !v.Clean() {
			err = errFailed
		}
		return err
	})
}

func writeJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}
