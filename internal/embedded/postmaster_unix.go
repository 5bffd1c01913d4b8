//go:build unix && !linux && !darwin

package embedded

import (
	"errors"

	"golang.org/x/sys/unix"
)

// isPostmaster says whether there is such a process; whether it is a server, only
// PostgreSQL itself can tell on these systems.
func isPostmaster(pid int, _ string) bool {
	return !errors.Is(unix.Kill(pid, 0), unix.ESRCH)
}

// endOrphans does nothing here: whose process one is cannot be told, and orphans
// end by themselves when they have done what they are at.
func (s *Server) endOrphans() {}
