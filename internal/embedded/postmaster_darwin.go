package embedded

import "golang.org/x/sys/unix"

// isPostmaster reports whether pid is a PostgreSQL server and not another program that
// reuses the process ID. It compares the program's name, since a process's working
// directory is not available without cgo.
func isPostmaster(pid int, _ string) bool {
	process, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return false
	}
	return unix.ByteSliceToString(process.Proc.P_comm[:]) == "postgres"
}

// endOrphans does nothing: this system does not show which cluster a backend belongs
// to. Orphaned backends exit when they have finished their statement.
func (s *Server) endOrphans() {}
