//go:build unix

package embedded

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// childFolder makes the test binary a process that starts the server in the
// folder and waits to be killed.
const childFolder = "TALLY_EMBEDDED_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childFolder); dir != "" {
		os.Exit(child(dir))
	}
	os.Exit(m.Run())
}

func child(dir string) int {
	server, err := Start(context.Background(), config(dir))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("started")
	if os.Getenv("TALLY_EMBEDDED_STAY") != "" {
		select {}
	}
	if err := server.Close(); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func config(dir string) Config {
	return Config{Dir: dir, BinDir: os.Getenv("TALLY_TEST_POSTGRES")}
}

// folder is short, since the path of a socket has to be, and open to the
// server's user, as a test's own temporary folder need not be.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tally-emb-")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	dir, err = filepath.EvalSymlinks(dir)
	require.NoError(t, err)
	return dir
}

func start(t *testing.T, dir string) *Server {
	t.Helper()
	s, err := Start(t.Context(), config(dir))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func query(t *testing.T, s *Server, sql string) (text string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.URL())
	require.NoError(t, err)
	defer conn.Close(t.Context())
	require.NoError(t, conn.QueryRow(t.Context(), sql).Scan(&text))
	return text
}

func TestStartStopAndStartAgain(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	s := start(t, dir)
	assert.Equal(t, "tally", query(t, s, "SELECT current_database()::text"))
	assert.Equal(t, "on", query(t, s, "SHOW fsync"), "durable")
	assert.Equal(t, "on", query(t, s, "SHOW data_checksums"))
	assert.Empty(t, query(t, s, "SHOW listen_addresses"), "the socket alone")
	assert.Equal(t, strconv.Itoa(s.Version()), query(t, s, "SELECT (current_setting('server_version_num')::int / 10000)::text"))
	query(t, s, "WITH c AS (SELECT set_config('a.b', 'c', false)) SELECT * FROM c")
	conn, err := pgx.Connect(t.Context(), s.URL())
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "CREATE TABLE kept AS SELECT 'here'::text AS text")
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))

	pid := s.postmaster()
	require.NotZero(t, pid)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "a second Close does nothing")
	assert.False(t, exists(filepath.Join(dir, "pgdata", "postmaster.pid")))
	assert.False(t, exists(filepath.Join(dir, "run", socketName)))
	assert.Eventually(t, func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }, 5*time.Second, pollEvery)

	assert.Equal(t, "here", query(t, start(t, dir), "SELECT text FROM kept"))
}

func TestUsersShareOneServer(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	first, second := start(t, dir), start(t, dir)
	pid := first.postmaster()
	assert.Equal(t, pid, second.postmaster())
	require.NoError(t, first.Close())
	assert.Equal(t, "1", query(t, second, "SELECT '1'"), "the second still uses it")
	require.NoError(t, second.Close())
	assert.Zero(t, second.postmaster(), "the last one to leave stops it")
}

func TestManyStartAtOnce(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	results := make(chan error, 4)
	for range cap(results) {
		go func() {
			s, err := Start(context.WithoutCancel(t.Context()), config(dir))
			if err == nil {
				err = s.Close()
			}
			results <- err
		}()
	}
	for range cap(results) {
		assert.NoError(t, <-results)
	}
	assert.False(t, exists(filepath.Join(dir, "pgdata", "postmaster.pid")))
}

// childProcess starts a process that starts the server, and waits until it has.
func childProcess(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), childFolder+"="+dir, "TALLY_EMBEDDED_STAY=1")
	out, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	buf := make([]byte, 512)
	n, err := out.Read(buf)
	require.NoError(t, err)
	require.Equal(t, "started\n", string(buf[:n]))
	return command
}

// The parent is killed: its server is found by the next process, used, and
// stopped when that leaves.
func TestOrphanIsAdoptedAndStopped(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	parent := childProcess(t, dir)
	require.NoError(t, parent.Process.Kill())
	_ = parent.Wait() // killed
	require.True(t, exists(filepath.Join(dir, "pgdata", "postmaster.pid")), "the orphan is still there")

	s := start(t, dir)
	assert.Equal(t, "1", query(t, s, "SELECT '1'"))
	require.NoError(t, s.Close())
	assert.Zero(t, s.postmaster())
}

// The server itself is killed, and leaves its postmaster.pid and shared memory.
func TestKilledServerRecovers(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	s := start(t, dir)
	conn, err := pgx.Connect(t.Context(), s.URL())
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "CREATE TABLE kept AS SELECT 'here'::text AS text")
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(s.postmaster(), syscall.SIGKILL))
	require.NoError(t, s.Close())
	assert.Equal(t, "here", query(t, start(t, dir), "SELECT text FROM kept"))
}

// The number in a stale postmaster.pid may be another program's by now.
func TestStalePidOfAnotherProcess(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	require.NoError(t, start(t, dir).Close())
	other := exec.Command("sleep", "60")
	require.NoError(t, other.Start())
	defer func() { _ = other.Process.Kill(); _ = other.Wait() }()
	stale := filepath.Join(dir, "pgdata", "postmaster.pid")
	text := fmt.Sprintf("%d\n%s\n1700000000\n5432\n%s\n\n  1 1\nready\n", other.Process.Pid, filepath.Join(dir, "pgdata"), filepath.Join(dir, "run"))
	require.NoError(t, os.WriteFile(stale, []byte(text), 0o600))
	s := &Server{layout: layout{dir}}
	require.Zero(t, s.postmaster(), "not a postmaster of ours")
	assert.NoError(t, s.stop(), "and so not ours to stop")
	assert.NoError(t, syscall.Kill(other.Process.Pid, 0))
}

func TestTwoFoldersSideBySide(t *testing.T) {
	t.Parallel()
	one, two := start(t, folder(t)), start(t, folder(t))
	assert.NotEqual(t, one.postmaster(), two.postmaster())
	assert.NotEqual(t, query(t, one, "SHOW data_directory"), query(t, two, "SHOW data_directory"))
}

func TestHalfMadeClusterIsMadeAnew(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "pgdata.new", "base"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "pgdata.new", "PG_VERSION"), []byte("9"), 0o600))
	assert.Equal(t, "1", query(t, start(t, dir), "SELECT '1'"))
	assert.False(t, exists(filepath.Join(dir, "pgdata.new")))
}

func TestClusterOfAnotherVersion(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "pgdata"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "pgdata", "PG_VERSION"), []byte("12\n"), 0o600))
	_, err := Start(t.Context(), config(dir))
	require.Error(t, err)
	assert.Contains(t, err.Error(), "made by PostgreSQL 12")
	assert.Contains(t, err.Error(), "install PostgreSQL 12, or choose another data folder")
}

func TestWrongBinDir(t *testing.T) {
	t.Parallel()
	empty := t.TempDir()
	_, err := Start(t.Context(), Config{Dir: folder(t), BinDir: empty})
	require.Error(t, err)
	assert.Contains(t, err.Error(), empty)
	assert.Contains(t, err.Error(), "of version 15 to 18")
}

func TestUnsupportedVersionsAreNoPrograms(t *testing.T) {
	t.Parallel()
	for output, want := range map[string]int{
		"postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)": 15, "postgres (PostgreSQL) 18beta1": 18,
		"postgres (PostgreSQL) 14.2": 0, "postgres (PostgreSQL) 19devel": 0, "gibberish": 0,
	} {
		dir := t.TempDir()
		fakePrograms(t, dir, output)
		b, err := inspect(t.Context(), dir)
		assert.Equal(t, want == 0, err != nil, output)
		if err == nil {
			assert.Equal(t, want, b.major)
		}
	}
	_, err := inspect(t.Context(), t.TempDir())
	assert.Error(t, err, "pg_config alone is no server")
}

func fakePrograms(t *testing.T, dir, version string) {
	t.Helper()
	script := "#!/bin/sh\necho '" + version + "'\n"
	for _, name := range []string{"postgres", "initdb"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755)) //nolint:gosec // a program
	}
}

// repository serves one archive in the form that the download expects: a zip
// that holds a .txz, and its checksum beside it.
func repository(t *testing.T, archive []byte) string {
	t.Helper()
	var jar bytes.Buffer
	w := zip.NewWriter(&jar)
	f, err := w.Create("postgres.txz")
	require.NoError(t, err)
	_, err = f.Write(archive)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".sha256") {
			fmt.Fprintf(w, "%x", sha256.Sum256(jar.Bytes()))
			return
		}
		_, err := w.Write(jar.Bytes())
		assert.NoError(t, err)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestObtain(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("xz"); err != nil {
		t.Skip("xz, which packs the archive of this test, is not installed")
	}
	source, dir := t.TempDir(), folder(t)
	require.NoError(t, os.Mkdir(filepath.Join(source, "bin"), 0o700))
	fakePrograms(t, filepath.Join(source, "bin"), "postgres (PostgreSQL) 18.4")
	packed, err := exec.Command("tar", "-C", source, "-cJf", "-", "bin").Output()
	require.NoError(t, err)

	b, err := obtain(t.Context(), dir, repository(t, packed))
	require.NoError(t, err)
	assert.Equal(t, binaries{filepath.Join(dir, "postgres", "bin"), 18}, b)
	for _, path := range []string{b.dir, b.program("postgres"), b.program("initdb")} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o055), info.Mode().Perm()&0o055, "others can run %s", path)
	}
	again, err := obtain(t.Context(), dir, "http://127.0.0.1:1")
	require.NoError(t, err, "once is enough")
	assert.Equal(t, b, again)
}

func TestObtainFailsByName(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"http://127.0.0.1:1", repository(t, []byte("no archive"))} {
		_, err := obtain(t.Context(), folder(t), url)
		require.Error(t, err)
		assert.Contains(t, err.Error(), "install PostgreSQL 15 to 18, or name another database with DATABASE_URL")
	}
}

func needsRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root drops to another user")
	}
}

func TestRootNeedsAFolderThatOthersCanReach(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	closed := folder(t) // 0700, and root's
	_, err := Start(t.Context(), config(filepath.Join(closed, "data")))
	require.Error(t, err)
	assert.Contains(t, err.Error(), "through "+closed+":")
	assert.Contains(t, err.Error(), "--data")
}

// What mktemp -d makes is 0700; as the data folder itself it is ours to open.
func TestRootOpensTheDataFolderItself(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	dir := folder(t)
	s := start(t, dir)
	info, err := os.Stat(dir)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o711), info.Mode().Perm(), "to pass through, not to list")
	info, err = os.Stat(filepath.Join(dir, "password"))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	assert.Equal(t, "1", query(t, s, "SELECT '1'"))
}

// As an ordinary user, with a home of one's own and nothing to drop to.
func TestWithoutRoot(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	dir := folder(t)
	const nobody = 65534
	require.NoError(t, os.Chmod(dir, 0o711))
	program := filepath.Join(dir, "embedded.test")
	content, err := os.ReadFile(os.Args[0])
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(program, content, 0o755)) //nolint:gosec // a program
	data := filepath.Join(dir, "d")
	require.NoError(t, os.Mkdir(data, 0o700))
	require.NoError(t, os.Chown(data, nobody, nobody))
	command := exec.Command(program)
	command.Dir = dir
	command.Env = append(os.Environ(), childFolder+"="+data, "HOME="+data)
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := command.CombinedOutput()
	require.NoError(t, err, string(out))
	assert.Equal(t, "started\n", string(out))
	assert.True(t, exists(filepath.Join(data, "pgdata", "PG_VERSION")))
	assert.False(t, exists(filepath.Join(data, "pgdata", "postmaster.pid")))
}

// A space, and what else means something in a URL, is only a character of a path.
func TestStrangePath(t *testing.T) {
	t.Parallel()
	parent := folder(t)
	require.NoError(t, os.Chmod(parent, 0o711))
	assert.Equal(t, "1", query(t, start(t, filepath.Join(parent, "a b+c%20&d=é")), "SELECT '1'"))
}

// The path of a socket has room for some hundred bytes only.
func TestLongPathMovesTheSocket(t *testing.T) {
	t.Parallel()
	parent := folder(t)
	require.NoError(t, os.Chmod(parent, 0o711))
	dir := filepath.Join(parent, strings.Repeat("long", 30))
	s := start(t, dir)
	socket := s.layout.socketDir()
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(socket)) })
	assert.False(t, strings.HasPrefix(socket, dir))
	assert.Equal(t, "1", query(t, s, "SELECT '1'"))
	info, err := os.Stat(socket)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o700), info.Mode().Perm())
}

func TestCancelledStartLeavesNothingRunning(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Start(ctx, config(dir))
	require.Error(t, err)
	s := &Server{layout: layout{dir}}
	assert.Zero(t, s.postmaster())

	// The folder's lock is free again.
	ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	again, err := Start(ctx, config(dir))
	require.NoError(t, err)
	require.NoError(t, again.Close())
}

func TestStartFailureShowsTheLog(t *testing.T) {
	t.Parallel()
	c := config(folder(t))
	c.Settings = map[string]string{"no_such_setting": "1"}
	_, err := Start(t.Context(), c)
	require.Error(t, err)
	assert.Contains(t, err.Error(), "no_such_setting", "what the server said")
	assert.Contains(t, err.Error(), "postgres.log")
}
