//go:build unix

package embedded

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// installation is a folder with programs that say that they are of a version.
func installation(t *testing.T, version string, mode os.FileMode) string {
	t.Helper()
	dir := folder(t)
	require.NoError(t, os.Chmod(dir, mode))
	for _, name := range []string{"postgres", "initdb"} {
		script := "#!/bin/sh\necho '" + name + " (PostgreSQL) " + version + "'\n"
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755)) //nolint:gosec // a program
	}
	return dir
}

func TestWhichProgramsAreChosen(t *testing.T) {
	t.Parallel()
	client := folder(t) // has no server
	old, fifteen := installation(t, "14.2", 0o755), installation(t, "15.18 (Debian 15.18-0)", 0o755)
	seventeen, beta, next := installation(t, "17.1", 0o755), installation(t, "18beta1", 0o755), installation(t, "19devel", 0o755)
	places := []string{client, old, fifteen, next, seventeen}
	o, err := serverOwner("")
	require.NoError(t, err)

	best, found := o.newest(t.Context(), places, 0)
	assert.Equal(t, programs{dir: seventeen, major: 17}, best)
	assert.Len(t, found, 4, "each installation is named in a message, the client's is not one")
	best, _ = o.newest(t.Context(), append(places, beta), 0)
	assert.Equal(t, programs{dir: beta, major: 18}, best)
	best, _ = o.newest(t.Context(), places, 15)
	assert.Equal(t, programs{dir: fifteen, major: 15}, best)
	best, _ = o.newest(t.Context(), places, 16)
	assert.Zero(t, best)

	major, err := Installed(t.Context(), seventeen)
	require.NoError(t, err)
	assert.Equal(t, 17, major)
	for dir, want := range map[string]string{client: "no such file", old: "14", next: "19"} {
		_, err := Installed(t.Context(), dir)
		require.ErrorContains(t, err, want)
		assert.ErrorContains(t, err, dir)
	}
}

func TestTheServersUserMustReachThePrograms(t *testing.T) {
	t.Parallel()
	hidden := installation(t, "17.1", 0o700)
	major, err := Installed(t.Context(), hidden)
	if os.Geteuid() != 0 {
		require.NoError(t, err)
		assert.Equal(t, 17, major)
		return
	}
	require.ErrorIs(t, err, ErrNoAccess)
	assert.ErrorContains(t, err, hidden+" keeps it out")
}

func TestAClusterOfAnotherVersion(t *testing.T) {
	t.Parallel()
	dir, seventeen := folder(t), installation(t, "17.1", 0o755)
	data := filepath.Join(dir, "pgdata")
	require.NoError(t, os.Mkdir(data, 0o755)) //nolint:gosec // a cluster would be closed
	made := func(major int) {
		require.NoError(t, os.WriteFile(filepath.Join(data, "PG_VERSION"), []byte(strconv.Itoa(major)+"\n"), 0o600))
	}
	r := newRepository(t, t.TempDir())
	elsewhere := Config{Dir: dir, DownloadURL: r.URL, places: func(context.Context) []string { return []string{seventeen} }}
	named := Config{Dir: dir, BinDir: seventeen}
	for _, c := range []Config{elsewhere, named} {
		made(16)
		_, err := Start(t.Context(), c)
		require.ErrorIs(t, err, ErrWrongVersion)
		for _, part := range []string{data, "PostgreSQL 16", "17", seventeen, "--data"} {
			assert.ErrorContains(t, err, part)
		}
		asked := len(r.downloads())
		for _, unsupported := range []int{oldestMajor - 1, newestMajor + 1} {
			made(unsupported)
			_, err = Start(t.Context(), c)
			require.ErrorIs(t, err, ErrWrongVersion)
			assert.ErrorContains(t, err, fmt.Sprintf("PostgreSQL %d", unsupported))
		}
		assert.Len(t, r.downloads(), asked, "what is not supported is not worth a download")
	}
	assert.Len(t, r.downloads(), 1, "a named folder is not gone round")
}
