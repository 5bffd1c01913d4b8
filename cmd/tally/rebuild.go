package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/opentax/tally/jobs"
	"github.com/opentax/tally/summaries"
)

type rebuildCmd struct {
	Tables []string `arg:"" optional:"" name:"rollup" help:"Rollups, such as user_summary, or keys; default: all."`
	JSON   bool     `help:"Print one JSON document."`
}

func (cmd rebuildCmd) Run(ctx context.Context, env *environment) error {
	if err := (summaries.RebuildOptions{Tables: cmd.Tables}).Check(); err != nil {
		return usageError{err}
	}
	return env.withService(ctx, func(service *jobs.Service) error {
		r, err := service.Rebuild(ctx, cmd.Tables, requestedBy())
		if err != nil {
			return err
		}
		if cmd.JSON {
			err = writeJSON(env.stdout, r)
		} else {
			err = cmd.print(env, r)
		}
		if err == nil && r.SecondRows > 0 {
			err = errFailed
		}
		return err
	})
}

func (rebuildCmd) print(env *environment, r summaries.Rebuilt) error {
	for _, t := range r.Tables {
		fmt.Fprintf(env.stdout, "%s: %d rows stored, %d removed\n", t.Table, t.Stored, t.Removed)
	}
	if r.SecondRows > 0 {
		fmt.Fprintf(env.stdout, "%d ids have several rows, which are left as they are: %s\n", r.SecondRows, strings.Join(r.SecondRowIDs, ", "))
	}
	_, err := fmt.Fprintf(env.stdout, "loads waited for at most %.1f s\n", r.Waited)
	return err
}
