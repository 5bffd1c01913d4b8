package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestComplete(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"rep":                           "replay report",
		"run --da":                      "--data --database-url --database-direct-url --database-read-url --date --dash",
		"--log-format ":                 "text json",
		"run --log-format js":           "json",
		"run --log-format=js":           "--log-format=json",
		"run --log-format = js":         "json", // as bash splits it
		"--json run --log-format = ":    "text json",
		"partitions ":                   "list retire",
		"partitions retire --keep":      "--keep-totals --keep-tables",
		"--config run.yaml completion ": "bash zsh fish",
		"settle 3:4 k":                  "keep",
		"settle ":                       "", // a file, as far as is known
		"rejects --file 3 --state rep":  "replayed",
		"run ./data":                    "",
		"comp":                          "completion", // not the hidden command
		"nothing --else ":               "up serve",
	} {
		words := strings.Split(line, " ")
		var stdout bytes.Buffer
		require.Equal(t, exitDone, run(t.Context(), append([]string{"complete", "--"}, words...), &stdout, io.Discard), line)
		var got []string
		for text := range strings.Lines(stdout.String()) {
			word, _, _ := strings.Cut(text, "\t")
			got = append(got, word)
		}
		if line == "nothing --else " {
			got = got[:2]
		}
		assert.Equal(t, want, strings.Join(got, " "), line)
	}
}

func TestCompletionScripts(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "zsh", "fish"} {
		var stdout bytes.Buffer
		require.Equal(t, exitDone, run(t.Context(), []string{"completion", shell}, &stdout, io.Discard))
		assert.Contains(t, stdout.String(), "tally complete -- ", shell)
		program, err := exec.LookPath(shell)
		if err != nil {
			continue
		}
		check := exec.CommandContext(t.Context(), program, "-n")
		check.Stdin = &stdout
		output, err := check.CombinedOutput()
		assert.NoError(t, err, "%s: %s", shell, output)
	}
	assert.Equal(t, exitUsage, run(t.Context(), []string{"completion", "tcsh"}, io.Discard, io.Discard))
}

// Every command has a page with its flags.
func TestManual(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.Equal(t, exitDone, run(t.Context(), []string{"manual", dir}, io.Discard, io.Discard))
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		return string(text)
	}
	root := read("tally.1")
	pages, err := filepath.Glob(filepath.Join(dir, "tally-*.1"))
	require.NoError(t, err)
	assert.Greater(t, len(pages), 20)
	for _, page := range pages {
		name := strings.TrimSuffix(filepath.Base(page), ".1")
		assert.Contains(t, root, ".BR "+roff(name)+" (1)\n")
		assert.Contains(t, read(filepath.Base(page)), ".SH SYNOPSIS\n.B tally "+strings.TrimPrefix(name, "tally-"), name)
	}
	assert.Contains(t, root, `\fB\-\-database\-url\fR=URL`)
	assert.Contains(t, root, "Environment: DATABASE_URL.")
	assert.Contains(t, read("tally-partitions.1"), ".SH OPTIONS OF RETIRE\n.TP\n\\fB\\-\\-before\\fR=YYYY\\-MM\n")
	assert.NotContains(t, root, "tally\\-complete (1)", "a hidden command")
	assert.Equal(t, `\&.\e\-`+"\n\\&'", roff(".\\-\n'"))
}
