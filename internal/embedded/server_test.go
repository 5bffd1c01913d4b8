//go:build unix

package embedded

import (
	"errors"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestStartServesAndCloseStops(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	server := start(t, Config{Dir: dir, BinDir: os.Getenv(programsVariable)})
	conn := connect(t, server)
	assert.Equal(t, "tally", ask[string](t, conn, "SELECT current_database()"))
	assert.Equal(t, "tally", ask[string](t, conn, "SELECT current_user"))
	assert.Equal(t, server.programs.major, ask[int](t, conn, "SELECT current_setting('server_version_num')::int / 10000"))
	assert.Equal(t, "C", ask[string](t, conn, "SELECT datcollate FROM pg_database WHERE datname = 'tally'"))
	for setting, want := range map[string]string{
		"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "data_checksums": "on",
		"server_encoding": "UTF8", "timezone": "UTC", "listen_addresses": "", "max_connections": "100",
	} {
		assert.Equal(t, want, ask[string](t, conn, "SELECT current_setting($1)", setting), setting)
	}
	_, err := conn.Exec(t.Context(), "CREATE TABLE kept AS SELECT 42 AS answer")
	require.NoError(t, err)
	group, err := syscall.Getpgid(server.PID())
	require.NoError(t, err)
	assert.Equal(t, server.PID(), group, "the terminal's Ctrl-C must not reach it")

	pid, before := server.PID(), server.URL()
	require.NoError(t, server.Close())
	assert.False(t, isPostmaster(pid, filepath.Join(dir, "pgdata")))
	assert.Zero(t, server.PID())
	assert.NoError(t, server.Close(), "a second Close does nothing")

	again := start(t, config(dir))
	assert.Equal(t, before, again.URL())
	assert.Equal(t, 42, ask[int](t, connect(t, again), "SELECT answer FROM kept"))
}

func TestPasswordIsRequired(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	server := start(t, config(dir))
	u, err := url.Parse(server.URL())
	require.NoError(t, err)
	for _, user := range []*url.Userinfo{url.User("tally"), url.UserPassword("tally", "guess")} {
		u.User = user
		_, err := pgx.Connect(t.Context(), u.String())
		require.Error(t, err)
		assert.NotContains(t, err.Error(), server.password)
	}
	var refused *pgconn.PgError
	_, err = pgx.Connect(t.Context(), u.String())
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, "28P01", refused.Code)

	for name, want := range map[string]os.FileMode{"password": 0o600, "pgdata": 0o700, "run": 0o700, "postgres.log": 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		assert.Equal(t, want, info.Mode().Perm(), name)
	}
}

func TestPsqlAcceptsURL(t *testing.T) {
	t.Parallel()
	server := start(t, config(folder(t)))
	psql, err := exec.LookPath(filepath.Join(server.programs.dir, "psql"))
	if err != nil {
		if psql, err = exec.LookPath("psql"); err != nil {
			t.Skip("psql is not installed")
		}
	}
	out, err := exec.Command(psql, "-d", server.URL(), "-Atc", "SELECT 'it is ' || current_database()").CombinedOutput()
	require.NoError(t, err, string(out))
	assert.Equal(t, "it is tally\n", string(out))
}

func TestHandlesInOneProcessShareServer(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	servers := make([]*Server, 4)
	var all sync.WaitGroup
	for i := range servers {
		all.Go(func() {
			var err error
			servers[i], err = Start(t.Context(), config(dir))
			assert.NoError(t, err)
		})
	}
	all.Wait()
	require.False(t, t.Failed())
	pid := servers[0].PID()
	require.NotZero(t, pid)
	for _, server := range servers {
		assert.Equal(t, pid, server.PID())
	}
	for _, server := range servers[1:] {
		require.NoError(t, server.Close())
		assert.Equal(t, 1, ask[int](t, connect(t, servers[0]), "SELECT 1"), "others still use it")
	}
	require.NoError(t, servers[0].Close())
	assert.Zero(t, running(dir))
}

func TestStartsAndStopsAreSerialized(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 3 {
				server, err := Start(t.Context(), config(dir))
				if assert.NoError(t, err) {
					conn, err := pgx.Connect(t.Context(), server.URL())
					if assert.NoError(t, err, "another handle's Close must not stop it") {
						assert.NoError(t, conn.Close(t.Context()))
					}
					assert.NoError(t, server.Close())
				}
			}
		})
	}
	all.Wait()
	assert.Zero(t, running(dir))
}

func TestProcessesShareServer(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	first := launchProcess(t, dir)
	pid := first.ready(t)
	server := start(t, config(dir))
	assert.Equal(t, pid, server.PID())
	first.leave(t)
	assert.Equal(t, 1, ask[int](t, connect(t, server), "SELECT 1"), "still in use after the process that started it has closed it")

	second := launchProcess(t, dir)
	assert.Equal(t, pid, second.ready(t))
	require.NoError(t, server.Close())
	assert.Equal(t, pid, running(dir), "another process uses it")
	second.leave(t)
	assert.Zero(t, running(dir))
}

func TestTwoFolders(t *testing.T) {
	t.Parallel()
	one, other := start(t, config(folder(t))), start(t, config(folder(t)))
	assert.NotEqual(t, one.PID(), other.PID())
	assert.NotEqual(t, one.URL(), other.URL())
	_, err := connect(t, one).Exec(t.Context(), "CREATE TABLE mine ()")
	require.NoError(t, err)
	assert.False(t, ask[bool](t, connect(t, other), "SELECT to_regclass('mine') IS NOT NULL"))
	require.NoError(t, one.Close())
	assert.Equal(t, 1, ask[int](t, connect(t, other), "SELECT 1"))
}

func TestLongPath(t *testing.T) {
	t.Parallel()
	dir := longFolder(t)
	server := start(t, config(dir))
	socket := server.endpoint.host
	assert.Equal(t, os.TempDir(), filepath.Dir(socket))
	assert.LessOrEqual(t, len(filepath.Join(socket, socketName)), maxSocketPath)
	assert.Equal(t, 1, ask[int](t, connect(t, server), "SELECT 1"))
	require.NoError(t, server.Close())
	assert.NoDirExists(t, socket)
}

// The name of a folder must be quoted in URLs and in lists.
func TestAnyFolderName(t *testing.T) {
	t.Parallel()
	parent := folder(t)
	require.NoError(t, os.Chmod(parent, 0o711)) //nolint:gosec // as /home is
	for name, inside := range map[string]bool{`a+b c "d" & é%20`: true, "a, b": false} {
		server := start(t, config(filepath.Join(parent, name)))
		assert.Equal(t, "tally", ask[string](t, connect(t, server), "SELECT current_database()"), name)
		assert.Equal(t, inside, server.path("run") == server.endpoint.host, name)
		if psql, err := exec.LookPath("psql"); err == nil {
			out, err := exec.Command(psql, "-d", server.URL(), "-Atc", "SELECT 1").CombinedOutput()
			assert.NoError(t, err, string(out))
		}
		assert.NoError(t, server.Close())
	}
}

func TestSocketFolderOfAnotherUser(t *testing.T) {
	t.Parallel()
	dir := longFolder(t)
	squatted := (&Server{dir: dir}).shortDir()
	elsewhere := folder(t)                                                           // the target that must not be used
	squat := []func() error{func() error { return os.Symlink(elsewhere, squatted) }} // any user can do that in a shared folder
	if os.Geteuid() == 0 {
		squat = append(squat, func() error { return errors.Join(os.Mkdir(squatted, 0o777), os.Chown(squatted, 12345, 12345)) })
	}
	for _, by := range squat {
		require.NoError(t, by())
		server, err := Start(t.Context(), config(dir))
		require.NoError(t, err)
		assert.Equal(t, "127.0.0.1", server.endpoint.host, "it must not listen in another user's folder")
		require.NoError(t, server.Close())
		require.NoError(t, os.Remove(squatted), "the other user's folder must stay")
	}
}

//nolint:paralleltest // it sets the environment
func TestNoSocketPossible(t *testing.T) {
	dir, usual := longFolder(t), os.TempDir()
	t.Setenv("TMPDIR", dir)
	server := start(t, config(dir))
	assert.Equal(t, "127.0.0.1", server.endpoint.host)
	conn := connect(t, server)
	assert.Equal(t, "127.0.0.1", ask[string](t, conn, "SELECT host(inet_client_addr())"))
	assert.Empty(t, ask[string](t, conn, "SELECT current_setting('unix_socket_directories')"))
	t.Setenv("TMPDIR", usual)
	sharing := start(t, config(dir)) // prefers a socket, but shares the running server
	assert.Equal(t, server.URL(), sharing.URL())
	require.NoError(t, sharing.Close())
	require.NoError(t, server.Close())
}

func TestStartErrorContainsLog(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	_, err := Start(t.Context(), config(dir, map[string]string{"max_wal_size": "plenty"}))
	var failure *Error
	require.ErrorAs(t, err, &failure)
	assert.Equal(t, filepath.Join(dir, "postgres.log"), failure.Path)
	assert.Contains(t, err.Error(), `invalid value for parameter "max_wal_size": "plenty"`)
	assert.Zero(t, running(dir))

	_, err = Start(t.Context(), config(dir, map[string]string{"shared_buffers": "many"}))
	require.ErrorContains(t, err, "shared_buffers")
	assert.NotContains(t, err.Error(), "max_wal_size", "the message must not contain the previous start's log")
}

func TestMissingPassword(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	require.NoError(t, start(t, config(dir)).Close())
	path := filepath.Join(dir, "password")
	for _, lose := range []func() error{
		func() error { return os.Truncate(path, 0) },
		func() error { return os.Remove(path) },
	} {
		require.NoError(t, lose())
		_, err := Start(t.Context(), config(dir))
		var failure *Error
		require.ErrorAs(t, err, &failure)
		assert.Equal(t, path, failure.Path)
		assert.NotEmpty(t, failure.Hint)
	}
	require.NoError(t, os.WriteFile(path, []byte("another\n"), 0o600))
	_, err := Start(t.Context(), config(dir))
	var refused *pgconn.PgError
	require.ErrorAs(t, err, &refused, "a permanent error ends the wait")
	assert.Equal(t, "28P01", refused.Code)
	assert.Zero(t, running(dir), "a start that fails leaves no server behind")
}

func TestServersUserNeedsAccessToFolder(t *testing.T) {
	t.Parallel()
	closed := filepath.Join(folder(t), "closed")
	require.NoError(t, os.Mkdir(closed, 0o700))
	require.NoError(t, os.Chmod(filepath.Dir(closed), 0o711))
	dir := filepath.Join(closed, "inner", "data")
	server, err := Start(t.Context(), config(dir))
	if os.Geteuid() != 0 { // then the folder belongs to the server's user
		require.NoError(t, err)
		require.NoError(t, server.Close())
		return
	}
	require.ErrorIs(t, err, ErrNoAccess)
	assert.Contains(t, err.Error(), closed+" keeps it out")
	assert.Contains(t, err.Error(), "--data")
	assert.NoDirExists(t, filepath.Join(dir, "pgdata"))

	require.NoError(t, os.Chmod(closed, 0o711))
	server = start(t, config(dir))
	info, err := os.Stat(filepath.Join(dir, "pgdata"))
	require.NoError(t, err)
	owner, ok := info.Sys().(*syscall.Stat_t)
	require.True(t, ok)
	assert.Equal(t, server.owner.credential.Uid, owner.Uid)
	assert.NotZero(t, owner.Uid)
}

// As root, the test also runs another process as an unprivileged user in the same
// folder, which root then uses.
func TestUnprivilegedUser(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	require.NoError(t, os.Chmod(dir, 0o755))
	uid := os.Geteuid()
	asUnprivileged := func(*exec.Cmd) {}
	if uid == 0 {
		uid = 65534
		program := filepath.Join(dir, "program") // only root can read the test binary
		own, err := os.Executable()
		require.NoError(t, err)
		text, err := os.ReadFile(own)
		require.NoError(t, err)
		writeProgram(t, program, text)
		dir = filepath.Join(dir, "data")
		require.NoError(t, os.Mkdir(dir, 0o700))
		require.NoError(t, os.Chown(dir, uid, uid))
		asUnprivileged = func(command *exec.Cmd) {
			command.Path, command.Dir = program, "/"
			command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
		}
	}
	other := launchProcess(t, dir, asUnprivileged)
	pid := other.ready(t)
	info, err := os.Stat("/proc/" + strconv.Itoa(pid))
	if err == nil { // not on macOS
		owner, ok := info.Sys().(*syscall.Stat_t)
		require.True(t, ok)
		assert.Equal(t, uid, int(owner.Uid))
	}
	server := start(t, config(dir))
	assert.Equal(t, pid, server.PID())
	other.leave(t)
	require.NoError(t, server.Close())
	require.Zero(t, running(dir))

	again := start(t, config(dir))
	assert.Equal(t, 1, ask[int](t, connect(t, again), "SELECT 1"))
}
