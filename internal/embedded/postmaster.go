package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// postmaster is the content of a running server's postmaster.pid.
type postmaster struct {
	pid      int
	endpoint endpoint // zero before the server listens
}

// The lines of postmaster.pid, counted from 0.
const (
	pidLine = iota
	_       // data folder
	_       // start time
	portLine
	socketLine
	addressLine
	pidLines
)

// postmaster returns the folder's running server. It returns zero if there is none:
// if postmaster.pid is missing or stale, also if its process ID was reused.
func (s *Server) postmaster() postmaster {
	p, err := readPidFile(s.pidFile())
	if err != nil || p.pid <= 1 || !isPostmaster(p.pid, s.layout.data()) {
		return postmaster{}
	}
	return p
}

func (s *Server) pidFile() string { return filepath.Join(s.layout.data(), "postmaster.pid") }

func readPidFile(path string) (postmaster, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return postmaster{}, err
	}
	lines := make([]string, pidLines)
	copy(lines, strings.Split(string(text), "\n"))
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	var p postmaster
	if p.pid, err = strconv.Atoi(lines[pidLine]); err != nil {
		return p, err
	}
	host := lines[socketLine]
	if host == "" {
		host = lines[addressLine]
	}
	if port, err := strconv.Atoi(lines[portLine]); err == nil && host != "" {
		p.endpoint = endpoint{host: host, port: port}
	}
	return p, nil
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
		return false, &Error{Op: "read", Path: s.pidFile(), Err: err}
	}
	if _, rest, found := strings.Cut(string(text), "\n"); found {
		err = os.WriteFile(s.pidFile(), fmt.Appendf(nil, "%d\n%s", os.Getpid(), rest), 0o600)
	} else { // truncated by a crash: PostgreSQL would refuse to start
		err = os.Remove(s.pidFile())
	}
	if err != nil {
		return true, &Error{Op: "clear", Path: s.pidFile(), Err: err}
	}
	for _, dir := range s.layout.socketDirs() {
		err := os.Remove(filepath.Join(dir, socketName+".lock"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return true, &Error{Op: "clear", Path: dir, Err: err}
		}
	}
	return true, nil
}
