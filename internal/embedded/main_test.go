//go:build unix

package embedded

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	programsVariable = "TALLY_TEST_POSTGRES" // a folder with the programs to test on
	folderVariable   = "TALLY_TEST_EMBEDDED" // makes this binary another user of a data folder
	restoreVariable  = "TALLY_TEST_RESTORE"  // and is its server's restore_command
)

// TestMain lets the test binary play the other processes that share a folder: it
// starts or joins the folder's server, says so, and leaves when its standard
// input ends.
func TestMain(m *testing.M) {
	dir := os.Getenv(folderVariable)
	if dir == "" {
		os.Exit(m.Run())
	}
	settings := map[string]string{"restore_command": os.Getenv(restoreVariable)}
	server, err := Start(context.Background(), config(dir, settings))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(server.PID())
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := server.Close(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// quick saves the disk's time; what a crash of the server does is not changed.
func quick() map[string]string {
	return map[string]string{"fsync": "off", "shared_buffers": "16MB"}
}

// folder is a data folder as mktemp makes it: for its owner alone. A test's own
// folder would do as little as it does for sockets: its path is long.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tally-embedded-")
	require.NoError(t, err)
	t.Cleanup(func() {
		if pid := running(dir); pid != 0 { // a failed test must not leave a server behind
			t.Errorf("the server %d is still running", pid)
			_ = syscall.Kill(pid, syscall.SIGQUIT)
			time.Sleep(time.Second)
		}
		assert.NoError(t, os.RemoveAll(dir))
	})
	return dir
}

// longFolder is too long for a socket in it.
func longFolder(t *testing.T) string {
	t.Helper()
	parent := folder(t)
	require.NoError(t, os.Chmod(parent, 0o711)) //nolint:gosec // as /home is
	dir := filepath.Join(parent, strings.Repeat("long", 30))
	t.Cleanup(func() { assert.Zero(t, running(dir)) })
	return dir
}

// running is the number of the folder's server, or 0.
func running(dir string) int {
	s := Server{layout: layout{dir}}
	return s.PID()
}

func config(dir string, settings ...map[string]string) Config {
	all := quick()
	for _, more := range settings {
		maps.Copy(all, more)
	}
	return Config{Dir: dir, BinDir: os.Getenv(programsVariable), Settings: all}
}

func start(t *testing.T, c Config) *Server {
	t.Helper()
	server, err := Start(t.Context(), c)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Close()) })
	return server
}

func connect(t *testing.T, s *Server) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.URL())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// ask is a query of one value.
func ask[T any](t *testing.T, conn *pgx.Conn, query string, args ...any) (value T) {
	t.Helper()
	require.NoError(t, conn.QueryRow(t.Context(), query, args...).Scan(&value), query)
	return value
}

// process is another process that uses the folder.
type process struct {
	*exec.Cmd
	input io.Closer
	says  *bufio.Reader
}

func launchProcess(t *testing.T, dir string, change ...func(*exec.Cmd)) *process {
	t.Helper()
	program, err := os.Executable()
	require.NoError(t, err)
	command := exec.Command(program)
	command.Env = append(os.Environ(), folderVariable+"="+dir)
	for _, c := range change {
		c(command)
	}
	input, err := command.StdinPipe()
	require.NoError(t, err)
	output, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	return &process{Cmd: command, input: input, says: bufio.NewReader(output)}
}

// ready waits until the process uses the server, whose number it returns.
func (p *process) ready(t *testing.T) (pid int) {
	t.Helper()
	line, err := p.says.ReadString('\n')
	require.NoError(t, err)
	_, err = fmt.Sscan(line, &pid)
	require.NoError(t, err, line)
	return pid
}

func (p *process) leave(t *testing.T) {
	t.Helper()
	require.NoError(t, p.input.Close())
	rest, err := io.ReadAll(p.says)
	require.NoError(t, err)
	assert.NoError(t, p.Wait(), strings.TrimSpace(string(rest)))
}

// kill is kill -9.
func (p *process) kill(t *testing.T) {
	t.Helper()
	require.NoError(t, p.Process.Kill())
	_ = p.Wait() // "signal: killed"
}

// gone waits until a process is no more.
func gone(t *testing.T, dir string, pid int) {
	t.Helper()
	require.Eventually(t, func() bool { return !isPostmaster(pid, filepath.Join(dir, "pgdata")) },
		10*time.Second, 10*time.Millisecond)
}
