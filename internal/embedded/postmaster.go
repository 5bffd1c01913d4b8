//go:build unix

package embedded

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// stopTimeout bounds the wait for a fast shutdown, which writes a checkpoint.
const stopTimeout = 2 * time.Minute

// postmaster is the content of a running server's postmaster.pid.
type postmaster struct {
	pid      int
	endpoint endpoint // zero before the server listens
}

// postmaster returns the folder's running server. It returns zero if there is none:
// if postmaster.pid is missing or stale, also if its process ID was reused.
func (s *Server) postmaster() postmaster {
	text, err := os.ReadFile(s.pidFile())
	if err != nil {
		return postmaster{}
	}
	// The lines: process ID, data folder, start time, port, socket folder, address.
	lines := make([]string, 6)
	copy(lines, strings.Split(string(text), "\n"))
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	pid, err := strconv.Atoi(lines[0])
	if err != nil || pid <= 1 || !isPostmaster(pid, s.data()) {
		return postmaster{}
	}
	p := postmaster{pid: pid}
	if host := cmp.Or(lines[4], lines[5]); host != "" && lines[3] != "" {
		p.endpoint = endpoint{host: host, port: lines[3]}
	}
	return p
}

func (s *Server) pidFile() string { return s.path("pgdata/postmaster.pid") }

// isPostmaster reports whether pid is the server of the cluster and not another program
// that reuses the process ID. A server's working directory is its cluster. Systems
// without /proc show only the program's name.
func isPostmaster(pid int, data string) bool {
	if errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
		return false
	}
	if _, err := os.Stat("/proc/self/cwd"); err != nil {
		name, err := exec.CommandContext(context.Background(), "ps", "-o", "ucomm=", "-p", strconv.Itoa(pid)).Output()
		return err == nil && strings.TrimSpace(string(name)) == "postgres"
	}
	same, err := sameFolder(fmt.Sprintf("/proc/%d/cwd", pid), data)
	if errors.Is(err, fs.ErrPermission) {
		// Root in a container may lack the capability to follow the link; the arguments
		// are readable by all users.
		arguments, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		return err == nil && slices.ContainsFunc(bytes.Split(arguments, []byte{0}), func(argument []byte) bool {
			return string(argument) == data
		})
	}
	return same
}

func sameFolder(a, b string) (bool, error) {
	first, err := os.Stat(a)
	if err != nil {
		return false, err
	}
	second, err := os.Stat(b)
	return err == nil && os.SameFile(first, second), err
}

// endOrphans terminates backends of a crashed server that have not noticed its exit:
// PostgreSQL does not start a new server while they run. Without /proc they exit when
// they have finished their statement.
func (s *Server) endOrphans() {
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, process := range processes {
		same, _ := sameFolder(process+"/cwd", s.data())
		program, _ := os.Readlink(process + "/exe") // another program, such as a shell, may have this working directory
		if pid, err := strconv.Atoi(filepath.Base(process)); err == nil && same && filepath.Base(program) == "postgres" {
			_ = unix.Kill(pid, unix.SIGTERM) // an error means that it has exited
		}
	}
}

// clearStale prepares the start of a server after a crash, and reports whether there
// was one. If another process of the same user has the crashed server's process ID,
// PostgreSQL would mistake it for a running server. postmaster.pid must stay, since
// PostgreSQL uses its shared memory key to detect backends that still run. So it gets
// the process ID of this process: PostgreSQL ignores its own parent.
func (s *Server) clearStale() (bool, error) {
	text, err := os.ReadFile(s.pidFile())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, failed("read", s.pidFile(), err)
	}
	if _, rest, found := strings.Cut(string(text), "\n"); found {
		err = os.WriteFile(s.pidFile(), fmt.Appendf(nil, "%d\n%s", os.Getpid(), rest), 0o600)
	} else { // truncated by a crash: PostgreSQL would refuse to start
		err = os.Remove(s.pidFile())
	}
	if err != nil {
		return true, failed("clear", s.pidFile(), err)
	}
	for _, dir := range s.socketDirs() {
		err := os.Remove(filepath.Join(dir, socketName+".lock"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return true, failed("clear", dir, err)
		}
	}
	return true, nil
}

// stop stops the server with a fast shutdown.
func (s *Server) stop() error {
	running := s.postmaster()
	if running.pid == 0 {
		return nil
	}
	err := unix.Kill(running.pid, unix.SIGINT)
	if errors.Is(err, unix.ESRCH) {
		err = nil
	}
	for began := time.Now(); err == nil && isPostmaster(running.pid, s.data()); time.Sleep(pollEvery) {
		if time.Since(began) > stopTimeout {
			err = errors.New("it is still shutting down; the next start will wait for it")
		}
	}
	if err == nil && running.endpoint.host == s.shortDir() {
		_ = os.Remove(running.endpoint.host) // the next start reuses it otherwise
	}
	return failed(fmt.Sprintf("stop the server, process %d; log:", running.pid), s.log(), err)
}
