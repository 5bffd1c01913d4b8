//go:build unix

package embedded

import (
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The server's user can replace files with links to files that only root may write.
func TestLinksAreNotFollowed(t *testing.T) {
	t.Parallel()
	const precious = "1\nnot the server's\n"
	for _, name := range []string{"pgdata/postmaster.pid", "postgres.log", "password.new", "password.initdb", "start.lock", "users.lock", "password"} {
		for kind, replace := range map[string]func(target, path string) error{
			"link": os.Symlink, "name": os.Link, "pipe": func(_, path string) error { return syscall.Mkfifo(path, 0o600) },
		} {
			if kind == "name" && (filepath.Ext(name) == ".lock" || name == "password") {
				continue // they are only read
			}
			t.Run(name+" "+kind, func(t *testing.T) {
				t.Parallel()
				parent := folder(t)
				require.NoError(t, os.Chmod(parent, 0o711)) //nolint:gosec // as /home is
				dir, target := filepath.Join(parent, "data"), filepath.Join(parent, "target")
				require.NoError(t, os.WriteFile(target, []byte(precious), 0o600))
				require.NoError(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755)) //nolint:gosec // the server's user enters it
				if name == "pgdata/postmaster.pid" || name == "postgres.log" {
					require.NoError(t, os.RemoveAll(filepath.Join(dir, "pgdata")))
					require.NoError(t, start(t, config(dir)).Close())
					require.NoError(t, os.RemoveAll(filepath.Join(dir, name)))
				}
				require.NoError(t, replace(target, filepath.Join(dir, name)))
				_, err := Start(t.Context(), config(dir))
				require.ErrorIs(t, err, errNotOwn)
				require.ErrorContains(t, err, filepath.Join(dir, name))
				text, err := os.ReadFile(target)
				require.NoError(t, err)
				assert.Equal(t, precious, string(text))
				info, err := os.Stat(target)
				require.NoError(t, err)
				assert.Equal(t, os.Geteuid(), int(info.Sys().(*syscall.Stat_t).Uid))
			})
		}
	}
}

func TestFileOfAnotherUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	dir := folder(t)
	require.NoError(t, start(t, config(dir)).Close())
	log := filepath.Join(dir, "postgres.log")
	require.NoError(t, os.Chown(log, 12345, 12345))
	_, err := Start(t.Context(), config(dir))
	require.ErrorIs(t, err, errNotOwn)
	require.NoError(t, os.Remove(log))
	start(t, config(dir))
}

// Root can use the folder of a service's user before the service itself has.
func TestServerRunsAsTheFoldersOwner(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give folders away")
	}
	parent := folder(t)
	require.NoError(t, os.Chmod(parent, 0o711)) //nolint:gosec // as /var/lib is
	dir := filepath.Join(parent, "data")
	require.NoError(t, os.Mkdir(dir, 0o750))
	other, err := user.Lookup("nobody") // initdb wants a user that exists
	require.NoError(t, err)
	uid, err := strconv.Atoi(other.Uid)
	require.NoError(t, err)
	require.NoError(t, os.Chown(dir, uid, -1))
	start(t, config(dir))
	for _, name := range []string{"pgdata", "password", "start.lock"} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		assert.EqualValues(t, uid, info.Sys().(*syscall.Stat_t).Uid, name)
	}
}

// Other users can neither list nor enter the data folder, whether root creates it or not.
func TestDataFolderIsPrivate(t *testing.T) {
	t.Parallel()
	for _, before := range []string{"missing", "as mktemp makes it"} {
		parent := folder(t)
		require.NoError(t, os.Chmod(parent, 0o711)) //nolint:gosec // as /home is
		dir, want := filepath.Join(parent, "data"), os.FileMode(0o750)
		if before != "missing" {
			require.NoError(t, os.Mkdir(dir, 0o700))
			if os.Geteuid() != 0 {
				want = 0o700
			}
		}
		for range 2 {
			server := start(t, config(dir))
			assert.Equal(t, 1, ask[int](t, connect(t, server), "SELECT 1"))
			require.NoError(t, server.Close())
			info, err := os.Stat(dir)
			require.NoError(t, err)
			assert.Equal(t, want, info.Mode().Perm(), before)
		}
	}
}
