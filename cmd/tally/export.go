package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/jobs"
	"github.com/opentax/tally/jobs/ledger"
)

type exportCmd struct {
	To      bucket.Location `placeholder:"DIR|URL" help:"Target: a folder, or s3://, gs:// or azblob:// with a bucket and a prefix. Default: export, to in the settings file."`
	Check   bool            `xor:"what" help:"Write nothing: compare the existing export with the database."`
	Replace bool            `xor:"what" help:"Write every file anew, and replace another database's export."`
	JSON    bool            `help:"Print the result as JSON."`
}

func (cmd exportCmd) Run(ctx context.Context, env *environment) error {
	return env.withService(ctx, func(service *jobs.Service) (err error) {
		if cmd.Check {
			err = cmd.check(ctx, env, service)
		} else {
			err = cmd.export(ctx, env, service)
		}
		if errors.Is(err, ledger.ErrNoExport) {
			return usageError{fmt.Errorf("%w: name it with --to, or in the settings file", err)}
		}
		return err
	})
}

func (cmd exportCmd) export(ctx context.Context, env *environment, service *jobs.Service) error {
	bar := newProgress(env.stderr)
	result, err := service.Export(ctx, jobs.ExportRequest{To: cmd.To, Replace: cmd.Replace, RequestedBy: requestedBy(), Progress: bar.report})
	bar.finish()
	if err != nil {
		return err
	}
	if cmd.JSON {
		return writeJSON(env.stdout, result)
	}
	fmt.Fprintf(env.stdout, "%s: %d files, %d written (%s), %d as they were, %d removed\n",
		result.Target, result.Files, result.Written, megabytes(result.BytesWritten), result.Kept, result.Removed)
	columns := []column{{"files", kindNumber}, {"rows", kindNumber}, {"sum", kindNumber}, {"table", kindText}}
	var rows [][]string
	for _, t := range result.Tables {
		rows = append(rows, []string{fmt.Sprint(t.Files), fmt.Sprint(t.Rows), fmt.Sprint(t.Sum), t.Table})
	}
	return env.terminal.table(env.stdout, columns, rows)
}

// check prints every difference, and fails if there is one.
func (cmd exportCmd) check(ctx context.Context, env *environment, service *jobs.Service) error {
	checked, err := service.CheckExport(ctx, cmd.To)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no export yet: %w", err)
	}
	if err != nil {
		return err
	}
	if cmd.JSON {
		err = writeJSON(env.stdout, checked)
	} else {
		for _, d := range checked.Drifts {
			fmt.Fprintln(env.stdout, d)
		}
		fmt.Fprintf(env.stdout, "%s: %d files, %d rows of transactions, %s: %d differences from the database\n",
			checked.Target, checked.Files, checked.Rows, megabytes(checked.Bytes), len(checked.Drifts))
	}
	if err == nil && !checked.Clean() {
		err = errFailed
	}
	return err
}

func megabytes(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }
