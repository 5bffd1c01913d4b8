//go:build unix

package testdb

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/embedded"
)

const (
	startTimeout = time.Minute // includes initdb and crash recovery
	pollEvery    = 10 * time.Millisecond
)

// Server is the server of a single test, which the test may stop, kill, pause and start.
// Its methods fail the test on error. They are not safe for concurrent use.
type Server struct {
	tb      testing.TB
	config  embedded.Config
	server  *embedded.Server
	url     string
	stopped []int // process IDs that Pause stopped
}

// Own starts a server with an empty database for this test, and stops it when the test
// ends. Its initdb takes about a second, so use it only if the server itself is part of
// the test.
func Own(tb testing.TB, settings map[string]string) *Server {
	tb.Helper()
	dir, err := os.MkdirTemp("", "tally-own-") // tb.TempDir is too long for a socket's path
	if err != nil {
		tb.Fatalf("test's server: %v", err)
	}
	all := fastSettings()
	maps.Copy(all, settings)
	s := &Server{tb: tb, config: embedded.Config{Dir: dir, BinDir: os.Getenv(programsVariable), Settings: all}}
	tb.Cleanup(s.remove)
	s.Start()
	return s
}

func (s *Server) remove() {
	s.Resume()
	s.Stop()
	if err := os.RemoveAll(s.config.Dir); err != nil {
		s.tb.Errorf("test's server: %v", err)
	}
}

// URL returns the connection URL. It stays the same when the server restarts.
func (s *Server) URL() string { return s.url }

// Start restarts the server after Stop or Kill, with its data. It does nothing if the
// server is running.
func (s *Server) Start() {
	s.tb.Helper()
	if s.server != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	server, err := embedded.Start(ctx, s.config)
	if err != nil {
		s.tb.Fatalf("start the test's server: %v", err)
	}
	s.server = server
	if s.url == "" { // others may read it while the server restarts
		s.url = server.URL()
	}
}

// Stop stops the server with a fast shutdown, which disconnects all clients.
func (s *Server) Stop() {
	s.tb.Helper()
	if s.server == nil {
		return
	}
	if err := s.server.Close(); err != nil {
		s.tb.Errorf("stop the test's server: %v", err)
	}
	s.server = nil
}

// Kill kills the server with SIGKILL, so that the next Start runs crash recovery. Unlike
// in a power failure, writes that are not synced survive.
func (s *Server) Kill() {
	s.tb.Helper()
	s.end(syscall.SIGKILL)
}

// Quit stops the server with an immediate shutdown, which disconnects all clients at once
// and writes nothing, so that the next Start runs crash recovery.
func (s *Server) Quit() {
	s.tb.Helper()
	s.end(syscall.SIGQUIT)
}

// Revive starts the server if it has ended by itself, as it does without room for its log.
func (s *Server) Revive() {
	s.tb.Helper()
	if s.server != nil && s.server.PID() == 0 {
		s.Stop()
	}
	s.Start()
}

func (s *Server) end(signal syscall.Signal) {
	s.tb.Helper()
	pid := s.running()
	s.signal(pid, signal)
	for deadline := time.Now().Add(startTimeout); s.server.PID() != 0; time.Sleep(pollEvery) {
		if time.Now().After(deadline) {
			s.tb.Fatalf("process %d is still running", pid)
		}
	}
	s.Stop()
}

// Pause stops the server and all its backends with SIGSTOP until Resume: new connections
// are accepted by the kernel but get no response.
func (s *Server) Pause() {
	s.tb.Helper()
	pid := s.running()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.url)
	if err != nil {
		s.tb.Fatalf("pause the test's server: %v", err)
	}
	rows, err := conn.Query(ctx, "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
	var pids []int
	if err == nil {
		pids, err = pgx.CollectRows(rows, pgx.RowTo[int])
	}
	if err != nil {
		s.tb.Fatalf("pause the test's server: %v", err)
	}
	if err := conn.Close(ctx); err != nil {
		s.tb.Errorf("pause the test's server: %v", err)
	}
	for _, pid := range append([]int{pid}, pids...) {
		s.signal(pid, syscall.SIGSTOP)
		s.stopped = append(s.stopped, pid)
	}
}

// Resume undoes Pause.
func (s *Server) Resume() {
	s.tb.Helper()
	for _, pid := range s.stopped {
		s.signal(pid, syscall.SIGCONT)
	}
	s.stopped = nil
}

func (s *Server) running() int {
	s.tb.Helper()
	if s.server == nil || s.server.PID() == 0 {
		s.tb.Fatalf("the test's server in %s is not running", filepath.Base(s.config.Dir))
	}
	return s.server.PID()
}

func (s *Server) signal(pid int, signal syscall.Signal) {
	s.tb.Helper()
	if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
		s.tb.Errorf("signal %v to process %d: %v", signal, pid, err)
	}
}

// Standby starts a streaming replica of the server, for the same test. The server restarts for
// the copy.
func (s *Server) Standby() *Server {
	s.tb.Helper()
	s.Stop()
	dir, err := os.MkdirTemp("", "tally-own-")
	if err == nil { // with cp, which keeps owners
		var out []byte
		if out, err = exec.CommandContext(context.Background(), "cp", "-a", s.config.Dir+"/.", dir).CombinedOutput(); err != nil {
			err = fmt.Errorf("%w\n%s", err, out)
		}
	}
	if err == nil {
		err = signalStandby(filepath.Join(dir, "pgdata"))
	}
	if err != nil {
		s.tb.Fatalf("copy the test's server: %v", err)
	}
	s.Start()
	r := &Server{tb: s.tb, config: s.config}
	r.config.Dir, r.config.Standby, r.config.Settings = dir, true, maps.Clone(s.config.Settings)
	r.config.Settings["primary_conninfo"] = conninfo(s.tb, s.url, filepath.Base(dir))
	r.config.Settings["wal_receiver_status_interval"], r.config.Settings["wal_retrieve_retry_interval"] = "1s", "100ms" // 0 would mean no replies
	delete(r.config.Settings, "synchronous_standby_names")
	s.tb.Cleanup(r.remove)
	r.Start()
	return r
}

// Restore starts another server, for the same test, from a cluster that backup writes to a folder.
func (s *Server) Restore(backup func(dir string)) *Server {
	s.tb.Helper()
	owner, err := os.Stat(filepath.Join(s.config.Dir, "pgdata"))
	r := &Server{tb: s.tb, config: s.config}
	if err == nil {
		r.config.Dir, err = os.MkdirTemp("", "tally-own-")
	}
	if err != nil {
		s.tb.Fatalf("restore the test's server: %v", err)
	}
	s.tb.Cleanup(r.remove)
	dir := filepath.Join(r.config.Dir, "pgdata")
	backup(dir)
	by, ok := owner.Sys().(*syscall.Stat_t)
	if !ok {
		s.tb.Fatal("restore the test's server: its owner is unknown")
	}
	for _, args := range [][]string{
		{"cp", "-a", filepath.Join(s.config.Dir, "password"), r.config.Dir},
		{"chown", "-R", fmt.Sprintf("%d:%d", by.Uid, by.Gid), r.config.Dir},
	} {
		if out, err := exec.CommandContext(context.Background(), args[0], args[1:]...).CombinedOutput(); err != nil {
			s.tb.Fatalf("restore the test's server: %v: %s", err, out)
		}
	}
	r.Start()
	return r
}

// Name is the server's name for synchronous_standby_names.
func (s *Server) Name() string { return filepath.Base(s.config.Dir) }

// signalStandby makes a cluster a standby. The file belongs to the owner of the cluster.
func signalStandby(data string) error {
	info, err := os.Stat(data)
	if err != nil {
		return err
	}
	path := filepath.Join(data, "standby.signal")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return err
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok {
		return os.Chown(path, int(owner.Uid), int(owner.Gid))
	}
	return nil
}

func conninfo(tb testing.TB, url, name string) string {
	tb.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		tb.Fatalf("the server's URL: %v", err)
	}
	return fmt.Sprintf("host=%s port=%d user=%s password=%s application_name=%s", config.Host, config.Port, config.User, config.Password, name)
}
