package main

import (
	"context"
	"time"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/pipeline/transform"
)

type checkCmd struct {
	Path bucket.Location `arg:"" help:"The file, or the URL of an object."`
	JSON bool            `help:"Print one JSON document."`
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
	profile, err := transform.Check(ctx, env.stores, cmd.Path, source.Rules, civil.Of(time.Now().In(settings.jobs.TimeZone)))
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
