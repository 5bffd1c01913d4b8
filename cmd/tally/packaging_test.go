package main

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func readPackaging(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("packaging/" + name)
	require.NoError(t, err)
	return string(text)
}

func TestPackagedSettings(t *testing.T) {
	t.Parallel()
	settings, err := parseConfig([]byte(readPackaging(t, "tally.yaml")))
	require.NoError(t, err)
	made, err := settings.jobs()
	require.NoError(t, err)
	require.Len(t, made.Sources, 1)
	assert.Equal(t, "/var/lib/tally/inbox", made.Sources[0].Path.String())
	unit := readPackaging(t, "tally.service")
	assert.Contains(t, unit, "\nStateDirectory=tally tally/inbox\n")
	assert.Contains(t, unit, "\nEnvironment=TALLY_DATA=/var/lib/tally TALLY_CONFIG=/etc/tally/tally.yaml\n")
}

// The units are the same but for the command, and leave time for a shutdown.
func TestUnits(t *testing.T) {
	t.Parallel()
	whole, part := readPackaging(t, "tally.service"), readPackaging(t, "tally@.service")
	for _, changed := range []string{`(?m)\A(#.*\n)+`, `(?m)^(Description|ExecStart|Conflicts)=.*\n`} {
		expression := regexp.MustCompile(changed)
		whole, part = expression.ReplaceAllString(whole, ""), expression.ReplaceAllString(part, "")
	}
	assert.Equal(t, whole, part)
	stop := regexp.MustCompile(`\nTimeoutStopSec=(\d+)\n`).FindStringSubmatch(whole)
	require.NotNil(t, stop)
	seconds, err := strconv.Atoi(stop[1])
	require.NoError(t, err)
	assert.Greater(t, float64(seconds), 3*drainTimeout.Seconds())
	assert.Contains(t, whole, "\nKillMode=mixed\n", "SIGTERM must not end the embedded database's sessions")
	assert.Contains(t, whole, "\nRestartPreventExitStatus="+strconv.Itoa(exitUsage)+"\n")
	assert.Contains(t, whole, "\nUser=tally\n")
	assert.Contains(t, whole, "\nProtectSystem=strict\n")
}

// A release's binaries are built as the image's is, and for the platforms that CI vets.
func TestReleaseIsBuiltAsTheImage(t *testing.T) {
	t.Parallel()
	read := func(path string) string {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		return string(text)
	}
	release, image, ci := read("../../.goreleaser.yaml"), read("../../Dockerfile"), read("../../.github/workflows/ci.yml")
	flags := regexp.MustCompile(`go build (-trimpath -tags (\S+)) -ldflags`).FindStringSubmatch(image)
	require.NotNil(t, flags)
	assert.Contains(t, release, "tags: ["+strings.ReplaceAll(flags[2], ",", ", ")+"]")
	assert.Contains(t, release, "flags: [-trimpath]")
	assert.Contains(t, read("../../.ci/manuals"), flags[1], "so that nothing is compiled twice")
	platforms := regexp.MustCompile(`(?m)^ +- ((?:linux|darwin|windows)_\w+)$`).FindAllStringSubmatch(release, -1)
	require.Len(t, platforms, 5)
	for _, platform := range platforms {
		assert.Contains(t, ci, strings.ReplaceAll(platform[1], "_", "/"), "CI vets it")
	}
}
