package main

import (
	"context"
	"fmt"
	"runtime/debug"
)

// version is set by the linker in a release; see codeVersion.
var version string

// codeVersion is what the ledger notes as the code that did the work: the
// release, else the commit that it was built from.
func codeVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	revision, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+changes"
		}
	}
	if revision == "" {
		return info.Main.Version
	}
	return revision[:min(12, len(revision))] + dirty
}

type versionCmd struct{}

func (versionCmd) Run(_ context.Context, env *environment) error {
	_, err := fmt.Fprintln(env.stdout, "tally", codeVersion())
	return err
}
