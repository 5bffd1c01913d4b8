//go:build unix

package embedded

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// installation creates a folder with programs that print this version.
func installation(t *testing.T, version string, mode os.FileMode) string {
	t.Helper()
	dir := folder(t)
	require.NoError(t, os.Chmod(dir, mode))
	for _, name := range []string{"postgres", "initdb"} {
		script := "#!/bin/sh\necho '" + name + " (PostgreSQL) " + version + "'\n"
		writeProgram(t, filepath.Join(dir, name), []byte(script))
	}
	return dir
}

// writeProgram writes a file that is executed. No process is started meanwhile: until it is under way it
// would hold the file open for writing, and a file that is open so cannot be executed (ETXTBSY).
func writeProgram(t *testing.T, path string, content []byte) {
	t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	require.NoError(t, os.WriteFile(path, content, 0o755)) //nolint:gosec // a program
}

func TestSelectPrograms(t *testing.T) {
	t.Parallel()
	client := folder(t) // has no server programs
	old, fifteen := installation(t, "14.2", 0o755), installation(t, "15.18 (Debian 15.18-0)", 0o755)
	seventeen, beta, next := installation(t, "17.1", 0o755), installation(t, "18beta1", 0o755), installation(t, "19devel", 0o755)
	dirs := []string{client, old, fifteen, next, seventeen}
	o, err := serverOwner("/")
	require.NoError(t, err)

	best, found := o.newest(t.Context(), dirs, 0)
	assert.Equal(t, programs{dir: seventeen, major: 17}, best)
	assert.Len(t, found, 4, "all installations but the client's")
	best, _ = o.newest(t.Context(), append(dirs, beta), 0)
	assert.Equal(t, programs{dir: beta, major: 18}, best)
	best, _ = o.newest(t.Context(), dirs, 15)
	assert.Equal(t, programs{dir: fifteen, major: 15}, best)
	best, _ = o.newest(t.Context(), dirs, 16)
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

func TestServersUserNeedsAccessToPrograms(t *testing.T) {
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

func TestClusterOfAnotherVersion(t *testing.T) {
	t.Parallel()
	dir, seventeen := folder(t), installation(t, "17.1", 0o755)
	data := filepath.Join(dir, "pgdata")
	require.NoError(t, os.Mkdir(data, 0o755)) //nolint:gosec // no cluster is started in it
	made := func(major int) {
		require.NoError(t, os.WriteFile(filepath.Join(data, "PG_VERSION"), []byte(strconv.Itoa(major)+"\n"), 0o600))
	}
	r := newRepository(t, t.TempDir())
	elsewhere := Config{Dir: dir, DownloadURL: r.URL, checksums: r.checksums, binDirs: func(context.Context) []string { return []string{seventeen} }}
	named := Config{Dir: dir, BinDir: seventeen}
	for _, c := range []Config{elsewhere, named} {
		made(16)
		_, err := Start(t.Context(), c)
		require.ErrorIs(t, err, ErrWrongVersion)
		for _, part := range []string{data, "PostgreSQL 16", "17", seventeen, "--data"} {
			assert.ErrorContains(t, err, part)
		}
		before := len(r.downloads())
		for _, unsupported := range []int{oldestMajor - 1, newestMajor + 1} {
			made(unsupported)
			_, err = Start(t.Context(), c)
			require.ErrorIs(t, err, ErrWrongVersion)
			assert.ErrorContains(t, err, fmt.Sprintf("PostgreSQL %d", unsupported))
		}
		assert.Len(t, r.downloads(), before, "unsupported versions are not downloaded")
	}
	assert.Len(t, r.downloads(), 1, "no download if BinDir is set")
}
