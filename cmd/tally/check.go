package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/synthetic"
	"github.com/opentax/tally/pipeline/transform"
	"github.com/opentax/tally/summaries"
)

// rulesFlags are a source's rules on the command line; the default of each is the rule of
// the named source.
type rulesFlags struct {
	Source      string `placeholder:"NAME" help:"Read by the rules of this source of the settings file."`
	Slash       string `enum:",mdy,dmy" default:"" placeholder:"ORDER" help:"Order of dates with slashes: mdy or dmy. Default: mdy."`
	Dash        string `enum:",mdy,dmy" default:"" placeholder:"ORDER" help:"Order of dates with dashes: mdy or dmy. Default: dmy."`
	Dot         string `enum:",mdy,dmy" default:"" placeholder:"ORDER" help:"Order of dates with dots: mdy or dmy. Default: they are rejected."`
	Decimal     string `enum:",point,comma" default:"" placeholder:"SIGN" help:"Decimal sign: point or comma. Default: point, and 1,234 is rejected as ambiguous."`
	From        string `placeholder:"DATE" help:"First date allowed. Default: 1900-01-01."`
	To          string `placeholder:"DATE" help:"Last date allowed. Default: 2099-12-31."`
	RejectLimit string `placeholder:"LIMIT" help:"Share or count of rejected rows above which nothing of a file is loaded. Default: 50%."`
	Corrections string `enum:",keep,replace" default:"" placeholder:"WHAT" help:"A row that is stored with other values: keep the stored one or replace it. Default: keep."`
}

// rules are the named source's, overridden by the flags.
func (f rulesFlags) rules(c *cli) (r transform.Rules, err error) {
	if f.Source != "" {
		settings, err := c.loadConfig()
		if err != nil {
			return r, err
		}
		i := slices.IndexFunc(settings.jobs.Sources, func(s pipeline.Source) bool { return s.Name == f.Source })
		if i < 0 {
			return r, usageError{fmt.Errorf("--source: the settings have no source %q", f.Source)}
		}
		r = settings.jobs.Sources[i].Rules
	}
	r.Slash = cmp.Or(transform.DateOrder(f.Slash), r.Slash)
	r.Dash = cmp.Or(transform.DateOrder(f.Dash), r.Dash)
	r.Dot = cmp.Or(transform.DateOrder(f.Dot), r.Dot)
	r.Decimal, r.Corrections = cmp.Or(f.Decimal, r.Decimal), cmp.Or(f.Corrections, r.Corrections)
	r.From, r.To, r.RejectLimit = cmp.Or(f.From, r.From), cmp.Or(f.To, r.To), cmp.Or(f.RejectLimit, r.RejectLimit)
	if err := r.Check(); err != nil {
		return r, usageError{err}
	}
	return r, nil
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
	JSON bool `help:"Print one JSON document."`
}

func (cmd verifyCmd) Run(ctx context.Context, env *environment) error {
	return env.withDatabase(ctx, func(db *database) error {
		drift := []summaries.Drift{} // JSON has no null for it
		v, err := summaries.Verify(ctx, db.pool, func(d summaries.Drift) {
			if cmd.JSON {
				drift = append(drift, d)
				return
			}
			fmt.Fprintln(env.stdout, d)
		})
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
