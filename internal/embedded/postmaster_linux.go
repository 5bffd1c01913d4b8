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

// isPostmaster tells the server of a cluster from some other program that has
// got the number of one that is gone. A server works in its cluster's folder.
func isPostmaster(pid int, data string) bool {
	if errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
		return false
	}
	working, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
	switch {
	case err == nil:
		return sameFolder(working, data)
	case errors.Is(err, fs.ErrPermission):
		// Root in a container may not look at other users' processes so closely,
		// but all may read their arguments.
		arguments, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		return err == nil && slices.ContainsFunc(bytes.Split(arguments, []byte{0}), func(argument []byte) bool {
			return string(argument) == data
		})
	}
	// Gone meanwhile, or dead and not collected yet; but where there is no /proc
	// at all, only PostgreSQL itself can tell.
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

// endOrphans ends the backends of a dead server that have not noticed yet that
// it is gone: PostgreSQL does not start a new one while they live.
func (s *Server) endOrphans() {
	working, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		return // the pattern is right
	}
	for _, link := range working {
		if dir, err := os.Readlink(link); err != nil || !sameFolder(dir, s.layout.data()) {
			continue
		}
		// Whoever has a shell in the folder is left alone.
		program, err := os.Readlink(filepath.Join(filepath.Dir(link), "exe"))
		if err != nil || filepath.Base(program) != "postgres" {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link))); err == nil {
			_ = unix.Kill(pid, unix.SIGTERM) // gone meanwhile is as good
		}
	}
}
