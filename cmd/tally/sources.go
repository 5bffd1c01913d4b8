package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/pipeline"
)

type sourcesCmd struct {
	JSON bool `help:"Print one JSON document."`
}

// sourceInfo is a configured source, and what its loaded files have proven.
type sourceInfo struct {
	Name        string              `json:"name"`
	Path        string              `json:"path"`
	Settle      string              `json:"settle"`
	Settings    json.RawMessage     `json:"settings"`
	Conventions []ledger.Convention `json:"conventions"`
}

func (cmd sourcesCmd) Run(ctx context.Context, env *environment) error {
	settings, err := env.loadConfig()
	if err != nil {
		return err
	}
	return env.withDatabase(ctx, func(db *database) error {
		proven, err := ledger.NewStore(db.pool).Conventions(ctx)
		if err != nil {
			return err
		}
		list := []sourceInfo{}
		for _, s := range settings.jobs.Sources {
			rules, err := json.Marshal(s.Rules)
			if err != nil {
				return err
			}
			list = append(list, sourceInfo{s.Name, s.Path.String(), s.SettleTime().String(), rules, ledger.Of(proven, s.Name)})
		}
		if cmd.JSON {
			return writeJSON(env.stdout, map[string]any{"sources": list})
		}
		for i, s := range list {
			if err := s.print(env.stdout, settings.jobs.Sources[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// print writes a source for people: what is set, and what its files have proven.
func (s sourceInfo) print(w io.Writer, source pipeline.Source) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n  set: %s\n  settle: %s\n", s.Name, s.Path, s.Settings, s.Settle)
	values := map[string][]string{}
	for _, c := range s.Conventions {
		fmt.Fprintf(&b, "  %s: %s, proven by line %d of %s (file %d)\n", c.Convention, c.Value, c.Line, c.Path, c.FileID)
		values[c.Convention] = append(values[c.Convention], c.Value)
	}
	for _, convention := range source.Rules.Unsettled(values) {
		fmt.Fprintf(&b, "  %s: the files contradict each other, so its ambiguous values are rejected until it is set\n", convention)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
