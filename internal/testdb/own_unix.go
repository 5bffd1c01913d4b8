//go:build unix

package testdb

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/embedded"
)

const (
	ownStart  = time.Minute // enough for a new cluster and for a recovery
	pollEvery = 10 * time.Millisecond
)

// Server is a server of one test's own, which the test may take away and bring
// back. Each method fails the test where it cannot do what it says. They are not
// for several goroutines at once.
type Server struct {
	tb      testing.TB
	config  embedded.Config
	server  *embedded.Server
	url     string
	stopped []int // processes that Pause has stopped
}

// Own starts a server for this test alone, with an empty database; it ends with
// the test. Making its cluster takes a second or so: use it where the server
// itself is part of the test.
func Own(tb testing.TB, settings map[string]string) *Server {
	tb.Helper()
	dir, err := os.MkdirTemp("", "tally-own-") // short, unlike the test's own: a socket's path is
	if err != nil {
		tb.Fatalf("own server: %v", err)
	}
	all := quick()
	maps.Copy(all, settings)
	s := &Server{tb: tb, config: embedded.Config{Dir: dir, BinDir: os.Getenv(programsVariable), Settings: all}}
	tb.Cleanup(func() {
		s.Resume()
		s.Stop()
		if err := os.RemoveAll(dir); err != nil {
			tb.Errorf("own server: %v", err)
		}
	})
	s.Start()
	return s
}

// URL is the same however often the server was stopped and started.
func (s *Server) URL() string { return s.url }

// Start brings the server back after Stop or Kill, with its data; it does nothing
// where it is running.
func (s *Server) Start() {
	s.tb.Helper()
	if s.server != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), ownStart)
	defer cancel()
	server, err := embedded.Start(ctx, s.config)
	if err != nil {
		s.tb.Fatalf("start the own server: %v", err)
	}
	s.server, s.url = server, server.URL()
}

// Stop shuts the server down in good order, and cuts off whoever is connected.
func (s *Server) Stop() {
	s.tb.Helper()
	if s.server == nil {
		return
	}
	if err := s.server.Close(); err != nil {
		s.tb.Errorf("stop the own server: %v", err)
	}
	s.server = nil
}

// Kill ends the server as a power failure would, but for what the operating
// system has in memory: the next Start recovers.
func (s *Server) Kill() {
	s.tb.Helper()
	pid := s.running()
	s.signal(pid, syscall.SIGKILL)
	for deadline := time.Now().Add(ownStart); s.server.PID() != 0; time.Sleep(pollEvery) {
		if time.Now().After(deadline) {
			s.tb.Fatalf("process %d is still there", pid)
		}
	}
	s.Stop()
}

// Pause stops the server and all its connections in their tracks, until Resume:
// connections are taken but not answered.
func (s *Server) Pause() {
	s.tb.Helper()
	pid := s.running()
	ctx, cancel := context.WithTimeout(context.Background(), ownStart)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.url)
	if err != nil {
		s.tb.Fatalf("pause the own server: %v", err)
	}
	rows, err := conn.Query(ctx, "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
	var pids []int
	if err == nil {
		pids, err = pgx.CollectRows(rows, pgx.RowTo[int])
	}
	if err != nil {
		s.tb.Fatalf("pause the own server: %v", err)
	}
	if err := conn.Close(ctx); err != nil {
		s.tb.Errorf("pause the own server: %v", err)
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
		s.tb.Fatalf("the own server in %s is not running", filepath.Base(s.config.Dir))
	}
	return s.server.PID()
}

func (s *Server) signal(pid int, signal syscall.Signal) {
	s.tb.Helper()
	if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
		s.tb.Errorf("signal %v to process %d: %v", signal, pid, err)
	}
}
