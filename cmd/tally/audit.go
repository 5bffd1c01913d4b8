package main

import (
	"context"
	"fmt"

	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/pipeline/seal"
)

type auditCmd struct {
	Verify auditVerifyCmd `cmd:"" help:"Replay the audit chain against the tables, and name the first entry that does not hold."`
	Head   auditHeadCmd   `cmd:"" help:"Print the last entry's number and hash, which fix the whole chain."`
}

type auditVerifyCmd struct {
	Head string `placeholder:"NUMBER:HASH" help:"A head that was noted before; the chain must still have it."`
	JSON bool   `help:"Print one JSON document."`
}

func (cmd auditVerifyCmd) Run(ctx context.Context, env *environment) error {
	var noted audit.Head
	if cmd.Head != "" {
		var err error
		if noted, err = audit.ParseHead(cmd.Head); err != nil {
			return usageError{err}
		}
	}
	return env.withDatabase(ctx, func(db *database) error {
		v, err := seal.Verify(ctx, db.pool, noted)
		switch {
		case err != nil:
			return err
		case cmd.JSON:
			err = writeJSON(env.stdout, v)
		case v.Broken != nil:
			_, err = fmt.Fprintln(env.stdout, v.Broken)
		default:
			_, err = fmt.Fprintf(env.stdout, "clean: %d entries, head %s\n", v.Entries, v.Head)
		}
		if err == nil && v.Broken != nil {
			err = errFailed
		}
		return err
	})
}

type auditHeadCmd struct {
	JSON bool `help:"Print one JSON document."`
}

func (cmd auditHeadCmd) Run(ctx context.Context, env *environment) error {
	return env.withDatabase(ctx, func(db *database) error {
		head, err := seal.ReadHead(ctx, db.pool)
		if err != nil {
			return err
		}
		if cmd.JSON {
			return writeJSON(env.stdout, head)
		}
		_, err = fmt.Fprintln(env.stdout, head)
		return err
	})
}
