package embedded

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// isPostmaster reports whether pid is the server of the cluster and not another program
// that reuses the process ID. A server's working directory is its cluster.
func isPostmaster(pid int, data string) bool {
	if errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
		return false
	}
	working, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
	switch {
	case err == nil:
		return sameFolder(working, data)
	case errors.Is(err, fs.ErrPermission):
		// Root in a container may lack the capability to read the link; the arguments
		// are readable by all users.
		arguments, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		return err == nil && slices.ContainsFunc(bytes.Split(arguments, []byte{0}), func(argument []byte) bool {
			return string(argument) == data
		})
	}
	// The process has exited or is a zombie. Without /proc, only PostgreSQL can
	// determine whether it is a server.
	_, err = os.Stat("/proc/self/cwd")
	return err != nil
}

func sameFolder(a, b string) bool {
	if a == b {
		return true
	}
	resolved, err := filepath.EvalSymlinks(b) // pgdata may have been moved to another disk
	return err == nil && a == resolved
}

// endOrphans terminates backends of a crashed server that have not noticed its exit:
// PostgreSQL does not start a new server while they run.
func (s *Server) endOrphans() {
	working, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		return // impossible: the pattern is valid
	}
	for _, link := range working {
		if dir, err := os.Readlink(link); err != nil || !sameFolder(dir, s.layout.data()) {
			continue
		}
		// Another program, such as a shell, may have this working directory.
		program, err := os.Readlink(filepath.Join(filepath.Dir(link), "exe"))
		if err != nil || filepath.Base(program) != "postgres" {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link))); err == nil {
			_ = unix.Kill(pid, unix.SIGTERM) // an error means that it has exited
		}
	}
}
