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

// postmaster is what a running server says of itself in postmaster.pid.
type postmaster struct {
	pid      int
	endpoint endpoint // zero until the server listens
}

// The lines of postmaster.pid, counted from 0.
const (
	pidLine = iota
	_       // the data folder
	_       // when it was started
	portLine
	socketLine
	addressLine
	pidLines
)

// postmaster is the folder's running server, or zero. A stale postmaster.pid,
// whose process is gone or is now another program, gives zero.
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

// clearStale makes way for a new server where a dead one has left its notes; it
// says whether there were any. When the dead one's number has gone to another
// process of the same user, PostgreSQL would take that for a server.
// postmaster.pid is kept, since the note in it about shared memory tells whether
// backends of the dead server live on, but with our own number: PostgreSQL knows
// that its parent is no earlier server.
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
	} else { // cut short by a crash: PostgreSQL would refuse to start
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
