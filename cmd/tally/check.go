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
	text, err := proposal(cmp.Or(source.Name, nameOf(cmd.Path)), cmp.Or(source.Path, cmd.Path), rules, profile)
	if err != nil {
		return err
	}
	fmt.Fprint(env.stdout, text)
	_, err = fmt.Fprintf(env.stderr, "with these settings %d of %d rows are valid\n", profile.Valid, profile.Read)
	return err
}

// nameOf is a name for the source of a file.
func nameOf(path bucket.Location) string {
	_, name := path.Split()
	name, _, _ = strings.Cut(name, ".")
	return name
}

// proposal is a source for tally.yaml; what its file leaves open stands in comments.
func proposal(name string, path bucket.Location, rules transform.Rules, profile *transform.Profile) (string, error) {
	settings, err := yaml.Marshal(struct {
		Name            string `yaml:"name"`
		Path            string `yaml:"path"`
		transform.Rules `yaml:",inline"`
	}{name, path.String(), rules})
	if err != nil {
		return "", fmt.Errorf("write the settings: %w", err)
	}
	var text strings.Builder
	if rules.Currency != "" {
		fmt.Fprintln(&text, "currency:", rules.Currency)
	}
	fmt.Fprintln(&text, "sources:")
	indent := "  - "
	for line := range strings.Lines(string(settings)) {
		fmt.Fprint(&text, indent, line)
		indent = "    "
	}
	for _, open := range slices.Concat(profile.Hints, profile.Warnings) {
		fmt.Fprintln(&text, "    #", open)
	}
	return text.String(), nil
}
