package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/jobs"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/load"
)

type runCmd struct {
	Paths  []bucket.Location `arg:"" optional:"" help:"Files, folders or globs, also of an object store (s3://; gs:// and azblob:// where they are built in); without any, the configured sources."`
	Date   *civil.Date       `placeholder:"D" help:"Logical date, YYYY-MM-DD; default: the last day that ended."`
	JSON   bool              `help:"Print one JSON document."`
	Full   bool              `help:"Read also the files that are unchanged by their size and time, or by their object's version."`
	Settle *time.Duration    `placeholder:"DURATION" help:"How long a file must stand still before it is read; 0s: not at all. Default: the source's, else 10s."`
	Trust  bool              `name:"trust-rules" help:"Apply the settings also where a file contradicts them; the ledger has it."`
	rulesFlags
}

func (cmd runCmd) Run(ctx context.Context, env *environment) error {
	request, err := cmd.request(env.cli)
	if err != nil {
		return err
	}
	return env.withService(ctx, func(service *jobs.Service) error {
		bar := newProgress(env.stderr)
		request.Progress = bar.report
		result, err := service.Run(ctx, request)
		bar.finish()
		if errors.Is(err, ledger.ErrNotEnded) {
			return usageError{err}
		}
		if len(result.Files) == 0 && err != nil {
			return err
		}
		if cmd.JSON {
			return errors.Join(err, writeJSON(env.stdout, result))
		}
		return errors.Join(err, env.printRun(result))
	})
}

func (cmd runCmd) request(c *cli) (jobs.RunRequest, error) {
	r := jobs.RunRequest{RequestedBy: requestedBy(), Retry: true, Full: cmd.Full, Source: cmd.Source, Date: cmd.Date}
	if len(cmd.Paths) == 0 && (cmd.given() || cmd.Trust || cmd.Settle != nil || cmd.Source != "") {
		return r, usageError{errors.New("settings are for paths given by hand; the configured sources have theirs in the settings file")}
	}
	settings, err := c.loadConfig()
	if err != nil {
		return r, err
	}
	for _, path := range cmd.Paths {
		absolute, err := path.Abs() // for the ledger
		if err != nil {
			return r, err
		}
		if _, err := cmd.sourceOf(settings.jobs.Sources, absolute, settings.jobs.Currency); err != nil {
			return r, err
		}
		r.Paths = append(r.Paths, absolute)
	}
	r.Change = func(source *pipeline.Source) {
		cmd.apply(&source.Rules)
		source.Rules.Trust = cmd.Trust
		source.Settle = cmp.Or(cmd.Settle, source.Settle)
	}
	return r, nil
}

// requestedBy names the user for the ledger.
func requestedBy() string {
	u, err := user.Current()
	if err != nil {
		return "cli"
	}
	return "cli:" + u.Username
}

func (env *environment) printRun(r jobs.RunResult) error {
	say := env.terminal.paint
	fmt.Fprintf(env.stdout, "run %d, logical date %s: %s\n", r.RunID, r.LogicalDate, say(colorOf(r.Status), r.Status))
	shown := slices.DeleteFunc(slices.Clone(r.Files), func(f load.Result) bool { return f.Status == load.StatusUnchanged && f.LoadedAs == f.Path })
	if err := env.printFiles(shown); err != nil {
		return err
	}
	for _, f := range shown {
		switch {
		case f.Status == load.StatusFailed:
			fmt.Fprintln(env.stdout, say(red, "failed:"), f.Error)
		case f.Status == load.StatusUnchanged:
			fmt.Fprintf(env.stdout, "unchanged: %s has the content of %s, which is loaded already (file %d)\n", f.Path, f.LoadedAs, f.FileID)
		case len(f.Faults) > 0:
			fmt.Fprintf(env.stdout, "%s of %s: %s (tally rejects --file %d)\n",
				say(yellow, "rejected"), f.Path, faultList(f.Faults), f.FileID)
		}
		for _, hint := range f.Hints {
			fmt.Fprintf(env.stdout, "%s for %s: %s\n", say(bold, "hint"), f.Path, hint)
		}
		for _, warning := range f.Warnings {
			fmt.Fprintf(env.stdout, "%s for %s: %s\n", say(yellow, "warning"), f.Path, warning)
		}
	}
	if r.Unchanged > 0 {
		fmt.Fprintf(env.stdout, "unchanged: %d files, whose content is loaded already (--full reads them all the same)\n", r.Unchanged)
	}
	return nil
}

func (env *environment) printFiles(files []load.Result) error {
	if len(files) == 0 {
		return nil
	}
	columns := []column{
		{"status", kindState}, {"read", kindNumber}, {"loaded", kindNumber}, {"duplicate", kindNumber}, {"conflict", kindNumber},
		{"rejected", kindNumber}, {"seconds", kindNumber}, {"file", kindLong},
	}
	var rows [][]string
	for _, f := range files {
		rows = append(rows, []string{
			f.Status, fmt.Sprint(f.Read), fmt.Sprint(f.Loaded), fmt.Sprint(f.Duplicate), fmt.Sprint(f.Conflict),
			fmt.Sprint(f.Rejected), fmt.Sprintf("%.1f", f.Seconds), f.Path,
		})
	}
	return env.terminal.table(env.stdout, columns, rows)
}

// faultList is "199 missing_amount, 7 missing_date", the most frequent first.
func faultList(faults map[string]int64) string {
	list := slices.SortedFunc(maps.Keys(faults), func(a, b string) int {
		return cmp.Or(cmp.Compare(faults[b], faults[a]), cmp.Compare(a, b))
	})
	for i, name := range list {
		list[i] = fmt.Sprint(faults[name], " ", name)
	}
	return strings.Join(list, ", ")
}

type backfillCmd struct {
	From civil.Date `required:"" placeholder:"D" help:"First logical date, YYYY-MM-DD."`
	To   civil.Date `required:"" placeholder:"D" help:"Last logical date, YYYY-MM-DD."`
}

func (cmd backfillCmd) Run(ctx context.Context, env *environment) error {
	if cmd.To < cmd.From {
		return usageError{fmt.Errorf("--from %s is after --to %s", cmd.From, cmd.To)}
	}
	return env.withService(ctx, func(service *jobs.Service) error {
		runs, err := service.Backfill(ctx, cmd.From, cmd.To, requestedBy())
		if errors.Is(err, ledger.ErrNotEnded) || errors.Is(err, jobs.ErrTooManyDates) {
			return usageError{err}
		}
		for _, r := range runs {
			fmt.Fprintf(env.stdout, "run %d, logical date %s: %s\n", r.ID, r.LogicalDate, r.Status)
		}
		return err
	})
}
