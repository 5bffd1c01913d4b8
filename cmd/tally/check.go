package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/pipeline/synthetic"
	"github.com/opentax/tally/pipeline/transform"
	"github.com/opentax/tally/summaries"
)

// rulesFlags are a source's rules on the command line; what is not given is
// taken from the named source, else from the defaults.
type rulesFlags struct {
	Source      string `placeholder:"NAME" help:"Read by the rules of this source of the settings file."`
	Slash       string `enum:",mdy,dmy" default:"" placeholder:"ORDER" help:"Order of dates with slashes: mdy or dmy. Default: mdy."`
	Dash        string `enum:",mdy,dmy" default:"" placeholder:"ORDER" help:"Order of dates with dashes: mdy or dmy. Default: dmy."`
	Dot         string `enum:",mdy,dmy" default:"" placeholder:"ORDER" help:"Order of dates with dots: mdy or dmy. Default: they are refused."`
	Decimal     string `enum:",point,comma" default:"" placeholder:"SIGN" help:"Decimal sign: point or comma. Default: point, and 1,234 is refused as ambiguous."`
	From        string `placeholder:"DATE" help:"First date allowed. Default: 1900-01-01."`
	To          string `placeholder:"DATE" help:"Last date allowed. Default: 2099-12-31."`
	RejectLimit string `placeholder:"LIMIT" help:"Share or count of rejected rows past which nothing of a file is loaded. Default: 50%."`
	Corrections string `enum:",keep,replace" default:"" placeholder:"WHAT" help:"A row that is stored with other values: keep the stored one or replace it. Default: keep."`
}

// rules merges the flags over the named source's rules.
func (f rulesFlags) rules(c *cli) (r transform.Rules, err error) {
	if f.Source != "" {
		if r, err = c.sourceRules(f.Source); err != nil {
			return r, err
		}
	}
	for _, o := range []struct {
		flag string
		set  func(string)
	}{
		{f.Slash, func(v string) { r.Slash = transform.DateOrder(v) }},
		{f.Dash, func(v string) { r.Dash = transform.DateOrder(v) }},
		{f.Dot, func(v string) { r.Dot = transform.DateOrder(v) }},
		{f.Decimal, func(v string) { r.Decimal = v }},
		{f.From, func(v string) { r.From = v }},
		{f.To, func(v string) { r.To = v }},
		{f.RejectLimit, func(v string) { r.RejectLimit = v }},
		{f.Corrections, func(v string) { r.Corrections = v }},
	} {
		if o.flag != "" {
			o.set(o.flag)
		}
	}
	if err := r.Check(); err != nil {
		return r, usageError{err}
	}
	return r, nil
}

func (c *cli) sourceRules(name string) (transform.Rules, error) {
	settings, err := c.loadConfig()
	if err != nil {
		return transform.Rules{}, err
	}
	for _, s := range settings.jobs.Sources {
		if s.Name == name {
			return s.Rules, nil
		}
	}
	return transform.Rules{}, usageError{fmt.Errorf("--source: the settings have no source %q", name)}
}

type checkCmd struct {
	Path bucket.Location `arg:"" help:"The file, or the URL of an object."`
	JSON bool            `help:"Print one JSON document."`
	rulesFlags
}

func (cmd checkCmd) Run(ctx context.Context, env *environment) error {
	rules, err := cmd.rules(env.cli)
	if err != nil {
		return err
	}
	profile, err := transform.Check(ctx, env.stores, cmd.Path, rules)
	if err != nil {
		return err
	}
	if cmd.JSON {
		err = writeJSON(env.stdout, profile)
	} else {
		err = profile.WriteText(env.stdout)
	}
	if err == nil && profile.Exceeded {
		err = errFailed
	}
	return err
}

type generateCmd struct {
	Rows  int64  `default:"10000" help:"Rows."`
	Users int    `default:"1000" help:"Users that the rows are spread over."`
	Seed  uint64 `default:"1" help:"The same seed gives the same bytes."`
}

func (cmd generateCmd) Run(ctx context.Context, env *environment) error {
	if cmd.Rows < 0 || cmd.Users < 1 {
		return usageError{errors.New("--rows must be at least 0 and --users at least 1")}
	}
	return synthetic.Write(ctx, env.stdout, synthetic.File{Rows: cmd.Rows, Users: cmd.Users, Seed: cmd.Seed})
}

type verifyCmd struct {
	JSON bool `help:"Print one JSON document."`
}

// verifyReport is what tally verify --json prints.
type verifyReport struct {
	summaries.Verification
	Drift []summaries.Drift `json:"drift"`
}

func (cmd verifyCmd) Run(ctx context.Context, env *environment) (err error) {
	db, err := env.open(ctx)
	if err != nil {
		return err
	}
	defer closing(&err, db.Close)
	report := verifyReport{Drift: []summaries.Drift{}}
	report.Verification, err = summaries.Verify(ctx, db.pool, func(d summaries.Drift) {
		if cmd.JSON {
			report.Drift = append(report.Drift, d)
			return
		}
		fmt.Fprintln(env.stdout, d)
	})
	if err != nil {
		return err
	}
	if cmd.JSON {
		err = writeJSON(env.stdout, report)
	} else {
		_, err = fmt.Fprintln(env.stdout, verdict(report.Verification))
	}
	if err == nil && !report.Clean() {
		err = errFailed
	}
	return err
}

func verdict(v summaries.Verification) string {
	seen := fmt.Sprintf("%d transactions, %d users, %d days, %d files", v.Transactions, v.Users, v.Days, v.Files)
	if v.Clean() {
		return "clean: " + seen
	}
	return fmt.Sprintf("%d differences in %s", v.Drifts, seen)
}

func writeJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}
