//go:build unix && !linux && !darwin

package embedded

import (
	"errors"

	"golang.org/x/sys/unix"
)

// isPostmaster reports whether the process exists. On these systems only PostgreSQL
// can determine whether it is a server.
func isPostmaster(pid int, _ string) bool {
	return !errors.Is(unix.Kill(pid, 0), unix.ESRCH)
}

// endOrphans does nothing: this system does not show which cluster a backend belongs
// to. Orphaned backends exit when they have finished their statement.
func (s *Server) endOrphans() {}
