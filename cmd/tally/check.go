package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/extract"
	"github.com/opentax/tally/pipeline/transform"
)

type checkCmd struct {
	Path bucket.Location `arg:"" help:"The file, or the URL of an object."`
	JSON bool            `help:"Print one JSON document."`

	Settings bool `help:"Print a source for tally.yaml that reads the file, with its columns mapped by their names and contents."`
	rulesFlags
}

func (cmd checkCmd) Run(ctx context.Context, env *environment) error {
	settings, err := env.loadConfig()
	if err != nil {
		return err
	}
	path, err := cmd.Path.Abs() // as the sources' are
	if err != nil {
		return err
	}
	source, err := cmd.sourceOf(settings.jobs.Sources, path, settings.jobs.Currency)
	if err != nil {
		return err
	}
	today := civil.Of(time.Now().In(settings.jobs.TimeZone))
	if cmd.Settings {
		return checkCmd{Path: path}.propose(ctx, env, source, today)
	}
	profile, err := transform.Check(ctx, env.stores, cmd.Path, source.Rules, today)
	if bad, ok := errors.AsType[*extract.FileError](err); ok && cmd.JSON {
		return errors.Join(err, writeJSON(env.stdout, map[string]string{"path": cmd.Path.String(), "error_code": bad.Code, "error": err.Error()}))
	}
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

// propose prints a source that reads the file. What the file leaves open stands in
// comments, and how it is read by these settings goes to standard error.
func (cmd checkCmd) propose(ctx context.Context, env *environment, source pipeline.Source, today civil.Date) error {
	rules, profile, err := transform.Propose(ctx, env.stores, cmd.Path, transform.Reading{Rules: source.Rules, LogicalDate: today})
	if err != nil {
		return err
	}
	path := cmp.Or(source.Path, cmd.Path)
	_, name := path.Split()
	name, _, _ = strings.Cut(name, ".")
	text, err := yaml.Marshal(struct {
		Name            string `yaml:"name"`
		Path            string `yaml:"path"`
		transform.Rules `yaml:",inline"`
	}{cmp.Or(source.Name, name), path.String(), rules})
	if err != nil {
		return fmt.Errorf("write the settings: %w", err)
	}
	if rules.Currency != "" {
		fmt.Fprintln(env.stdout, "currency:", rules.Currency)
	}
	fmt.Fprintln(env.stdout, "sources:")
	indent := "  - "
	for line := range strings.Lines(string(text)) {
		fmt.Fprint(env.stdout, indent, line)
		indent = "    "
	}
	for _, open := range slices.Concat(profile.Hints, profile.Warnings) {
		fmt.Fprintln(env.stdout, "    #", open)
	}
	_, err = fmt.Fprintf(env.stderr, "with these settings %d of %d rows are valid\n", profile.Valid, profile.Read)
	return err
}
