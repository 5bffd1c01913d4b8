//go:build unix

package embedded

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestServerOfKilledProcessIsUsedAndStopped(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	parent := launchProcess(t, dir)
	pid := parent.ready(t)
	parent.kill(t)
	require.Equal(t, pid, running(dir), "no process was left to stop it")

	server := start(t, config(dir))
	assert.Equal(t, pid, server.PID())
	assert.Equal(t, 1, ask[int](t, connect(t, server), "SELECT 1"))
	require.NoError(t, server.Close())
	awaitExit(t, dir, pid)
}

func TestKilledServerRestarts(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	server := start(t, config(dir))
	_, err := connect(t, server).Exec(t.Context(), "CREATE TABLE kept AS SELECT 42 AS answer")
	require.NoError(t, err)
	killServer(t, server)
	require.FileExists(t, server.pidFile(), "precondition of this test")
	require.NoError(t, server.Close())

	// Another process of the same user has the killed server's process ID.
	other := server.owner.command(context.Background(), "/bin/sh", "-c", "sleep 100 & wait")
	require.NoError(t, other.Start())
	t.Cleanup(func() { _ = other.Cancel(); _ = other.Wait() })
	for _, path := range []string{server.pidFile(), filepath.Join(dir, "run", socketName+".lock")} {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		_, rest, _ := strings.Cut(string(text), "\n")
		require.NoError(t, os.WriteFile(path, []byte(strconv.Itoa(other.Process.Pid)+"\n"+rest), 0o600))
	}
	assert.Zero(t, running(dir))
	again := start(t, config(dir))
	assert.Equal(t, 42, ask[int](t, connect(t, again), "SELECT answer FROM kept"))
	assert.NoError(t, other.Process.Signal(syscall.Signal(0)), "the other process must not be signaled")
}

func TestTruncatedPidFile(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	server := start(t, config(dir))
	require.NoError(t, server.Close())
	require.NoError(t, os.WriteFile(server.pidFile(), nil, 0o600))
	assert.Equal(t, 1, ask[int](t, connect(t, start(t, config(dir))), "SELECT 1"))
}

// A busy backend does not notice at once that its postmaster was killed, and PostgreSQL
// refuses to start while it runs.
func TestBusyBackendOfKilledServerIsTerminated(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	server := start(t, config(dir))
	conn := connect(t, server)
	backend := int(conn.PgConn().PID())
	busy := make(chan error, 1)
	go func() {
		_, err := conn.Exec(context.Background(), "SELECT sum(sqrt(n)) FROM generate_series(1, 2000000000) n")
		busy <- err
	}()
	watch := connect(t, server)
	require.Eventually(t, func() bool {
		return ask[bool](t, watch, "SELECT state = 'active' FROM pg_stat_activity WHERE pid = $1", backend)
	}, time.Minute, 5*time.Millisecond)
	killServer(t, server)
	require.NoError(t, server.Close())
	require.NoError(t, syscall.Kill(backend, 0), "precondition: the backend must still run")

	again := start(t, config(dir))
	assert.Equal(t, 1, ask[int](t, connect(t, again), "SELECT 1"))
	<-busy
}

func killServer(t *testing.T, server *Server) {
	t.Helper()
	pid := server.PID()
	require.NotZero(t, pid)
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	awaitExit(t, server.dir, pid)
}

func TestIncompleteClusterIsRecreated(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	maker := launchProcess(t, dir)
	var half []string
	require.Eventually(t, func() bool {
		half, _ = filepath.Glob(filepath.Join(dir, "pgdata.new-*", "base"))
		return len(half) > 0
	}, time.Minute, time.Millisecond)
	maker.kill(t)
	require.NoDirExists(t, filepath.Join(dir, "pgdata"), "precondition of this test")

	server := start(t, config(dir))
	assert.Equal(t, 1, ask[int](t, connect(t, server), "SELECT 1"))
	assert.NoDirExists(t, half[0])
}

// slowRecovery delays the next start: archive recovery runs a restore_command that
// sleeps before it reports that there is no file.
func slowRecovery(t *testing.T, server *Server, seconds int) map[string]string {
	t.Helper()
	require.NoError(t, server.rewrite("pgdata/recovery.signal", os.O_CREATE, []byte("\n"), server.owner.chown))
	return map[string]string{"restore_command": fmt.Sprintf("sleep %d; false", seconds)}
}

func TestStartWaitsForRecovery(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	server := start(t, config(dir))
	require.NoError(t, server.Close())
	slow := slowRecovery(t, server, 1)

	launched := launchProcess(t, dir, func(command *exec.Cmd) {
		command.Env = append(command.Env, restoreVariable+"="+slow["restore_command"])
	})
	require.Eventually(t, func() bool { return running(dir) != 0 }, time.Minute, time.Millisecond)
	launched.kill(t) // its server stays in recovery
	orphan := running(dir)
	require.NotZero(t, orphan)
	began := time.Now()
	sharing := start(t, config(dir))
	assert.Equal(t, orphan, sharing.PID())
	assert.Greater(t, time.Since(began), 500*time.Millisecond, "precondition: the server was in recovery")
	assert.False(t, ask[bool](t, connect(t, sharing), "SELECT pg_is_in_recovery()"))
}

func TestCanceledStartLeavesNoServer(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	server := start(t, config(dir))
	require.NoError(t, server.Close())
	slow := slowRecovery(t, server, 5)

	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := Start(ctx, config(dir, slow))
		failed <- err
	}()
	require.Eventually(t, func() bool { return running(dir) != 0 }, time.Minute, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-failed, context.Canceled)
	assert.Zero(t, running(dir))
}
