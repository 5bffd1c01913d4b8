package main

import (
	"context"
	"errors"
	"fmt"
	"os/user"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/jobs"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/pipeline/load"
)

type runCmd struct {
	Paths []bucket.Location `arg:"" optional:"" help:"Files, folders or globs, also of an object store (s3://; gs:// and azblob:// where they are built in); without any, the configured sources."`
	Date  string            `placeholder:"D" help:"Logical date, YYYY-MM-DD; default: the day that has just ended."`
	JSON  bool              `help:"Print one JSON document."`
	rulesFlags
}

func (cmd runCmd) Run(ctx context.Context, env *environment) error {
	request, err := cmd.request(env.cli)
	if err != nil {
		return err
	}
	show := env.printText
	if cmd.JSON {
		show = env.printJSON
	}
	return env.withService(ctx, func(service *jobs.Service) error {
		return env.process(ctx, service, request, show)
	})
}

func (cmd runCmd) request(c *cli) (jobs.RunRequest, error) {
	rules, err := cmd.rules(c)
	if err != nil {
		return jobs.RunRequest{}, err
	}
	r := jobs.RunRequest{RequestedBy: requestedBy(), Retry: true, Rules: rules}
	for _, path := range cmd.Paths {
		// The ledger names files by their whole path, wherever Tally was started.
		whole, err := path.Abs()
		if err != nil {
			return r, err
		}
		r.Paths = append(r.Paths, whole)
	}
	if cmd.rulesFlags == (rulesFlags{Source: cmd.Source}) {
		r.Source = cmd.Source
	} else if len(cmd.Paths) == 0 {
		return r, usageError{errors.New("rules are for paths given by hand; the configured sources have theirs in the settings file")}
	}
	if cmd.Date != "" {
		date, err := civil.Parse(cmd.Date)
		if err != nil {
			return r, usageError{fmt.Errorf("--date: %w", err)}
		}
		r.Date = &date
	}
	return r, nil
}

// requestedBy is how the ledger names who asked.
func requestedBy() string {
	u, err := user.Current()
	if err != nil {
		return "cli"
	}
	return "cli:" + u.Username
}

// process runs in the foreground, shows the result, and fails when a file did.
func (env *environment) process(ctx context.Context, service *jobs.Service, request jobs.RunRequest, show func(jobs.RunResult) error) error {
	bar := newProgress(env.stderr)
	request.Progress = bar.report
	result, err := service.Run(ctx, request)
	bar.finish()
	if errors.Is(err, ledger.ErrNotEnded) {
		return usageError{err}
	}
	if len(result.Files) > 0 || err == nil {
		if showErr := show(result); showErr != nil {
			return errors.Join(err, showErr)
		}
	}
	return err
}

func (env *environment) printJSON(r jobs.RunResult) error { return writeJSON(env.stdout, r) }

func (env *environment) printText(r jobs.RunResult) error {
	fmt.Fprintf(env.stdout, "run %d, logical date %s: %s\n", r.RunID, r.LogicalDate, r.Status)
	table := tabwriter.NewWriter(env.stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	if len(r.Files) > 0 {
		fmt.Fprintln(table, "status\tread\tloaded\tduplicate\tconflict\trejected\tseconds\t  file")
	}
	for _, f := range r.Files {
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\t%.1f\t  %s\n", f.Status, f.Read, f.Loaded, f.Duplicate, f.Conflict, f.Rejected, f.Seconds, f.Path)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, f := range r.Files {
		if text := remark(f); text != "" {
			fmt.Fprintln(env.stdout, text)
		}
	}
	return nil
}

// remark is what a row of numbers does not say.
func remark(f load.Result) string {
	switch {
	case f.Status == load.StatusFailed:
		return "failed: " + f.Error
	case f.Status == load.StatusUnchanged:
		return fmt.Sprintf("unchanged: %s has the content of %s, which is loaded already (file %d)", f.Path, f.LoadedAs, f.FileID)
	case len(f.Faults) > 0:
		return fmt.Sprintf("rejected of %s: %s (tally psql -c 'SELECT * FROM etl_rejects WHERE file_id = %d')", f.Path, faultList(f.Faults), f.FileID)
	}
	return ""
}

// faultList is "199 missing_amount, 7 missing_date", most first.
func faultList(faults map[string]int64) string {
	names := make([]string, 0, len(faults))
	for name := range faults {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if faults[a] != faults[b] {
			return int(min(max(faults[b]-faults[a], -1), 1))
		}
		return strings.Compare(a, b)
	})
	for i, name := range names {
		names[i] = fmt.Sprint(faults[name], " ", name)
	}
	return strings.Join(names, ", ")
}

type backfillCmd struct {
	From string `required:"" placeholder:"D" help:"First logical date, YYYY-MM-DD."`
	To   string `required:"" placeholder:"D" help:"Last logical date, YYYY-MM-DD."`
}

func (cmd backfillCmd) Run(ctx context.Context, env *environment) error {
	from, err := civil.Parse(cmd.From)
	if err != nil {
		return usageError{fmt.Errorf("--from: %w", err)}
	}
	to, err := civil.Parse(cmd.To)
	if err != nil {
		return usageError{fmt.Errorf("--to: %w", err)}
	}
	if to < from {
		return usageError{fmt.Errorf("--from %s is after --to %s", from, to)}
	}
	return env.withService(ctx, func(service *jobs.Service) error {
		runs, err := service.Backfill(ctx, from, to, requestedBy())
		if errors.Is(err, ledger.ErrNotEnded) || errors.Is(err, jobs.ErrTooManyDates) {
			return usageError{err}
		}
		for _, r := range runs {
			fmt.Fprintf(env.stdout, "run %d, logical date %s: %s\n", r.ID, r.LogicalDate, r.Status)
		}
		return err
	})
}
