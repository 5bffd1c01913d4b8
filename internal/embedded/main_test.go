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
	programsVariable = "TALLY_TEST_POSTGRES" // folder of the server programs to test with
	folderVariable   = "TALLY_TEST_EMBEDDED" // makes this binary another process that uses this data folder
	restoreVariable  = "TALLY_TEST_RESTORE"  // restore_command of that process's server
)

// TestMain also runs the test binary as another process that shares a folder: it
// starts or shares the folder's server, prints its process ID, and closes it when
// standard input ends.
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

// fastSettings reduces disk writes. They do not change how the server recovers when it
// is killed.
func fastSettings() map[string]string {
	return map[string]string{"fsync": "off", "shared_buffers": "16MB"}
}

// folder creates a data folder with mode 0700. The path of t.TempDir would be too long
// for a socket.
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

// longFolder returns a path that is too long for a socket.
func longFolder(t *testing.T) string {
	t.Helper()
	parent := folder(t)
	require.NoError(t, os.Chmod(parent, 0o711)) //nolint:gosec // as /home is
	dir := filepath.Join(parent, strings.Repeat("long", 30))
	t.Cleanup(func() { assert.Zero(t, running(dir)) })
	return dir
}

// running returns the process ID of the folder's server, or 0.
func running(dir string) int {
	s := Server{dir: dir}
	s.owner, _ = serverOwner(s.data())
	return s.PID()
}

func config(dir string, settings ...map[string]string) Config {
	all := fastSettings()
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

// ask returns the single value of a query.
func ask[T any](t *testing.T, conn *pgx.Conn, query string, args ...any) (value T) {
	t.Helper()
	require.NoError(t, conn.QueryRow(t.Context(), query, args...).Scan(&value), query)
	return value
}

// process is another process that uses the folder.
type process struct {
	*exec.Cmd
	input  io.Closer
	output *bufio.Reader
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
	return &process{Cmd: command, input: input, output: bufio.NewReader(output)}
}

// ready waits until the process uses the server, and returns the server's process ID.
func (p *process) ready(t *testing.T) (pid int) {
	t.Helper()
	line, err := p.output.ReadString('\n')
	require.NoError(t, err)
	_, err = fmt.Sscan(line, &pid)
	require.NoError(t, err, line)
	return pid
}

func (p *process) leave(t *testing.T) {
	t.Helper()
	require.NoError(t, p.input.Close())
	rest, err := io.ReadAll(p.output)
	require.NoError(t, err)
	assert.NoError(t, p.Wait(), strings.TrimSpace(string(rest)))
}

// kill sends SIGKILL.
func (p *process) kill(t *testing.T) {
	t.Helper()
	require.NoError(t, p.Process.Kill())
	_ = p.Wait() // "signal: killed"
}

// awaitExit waits until the server has exited.
func awaitExit(t *testing.T, dir string, pid int) {
	t.Helper()
	require.Eventually(t, func() bool { return !isPostmaster(pid, filepath.Join(dir, "pgdata")) },
		10*time.Second, 10*time.Millisecond)
}
