//go:build unix

package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// stopTimeout bounds the wait for a fast shutdown, which writes a checkpoint.
	stopTimeout = 2 * time.Minute
	// killDelay bounds the wait for the output of a canceled program's children.
	killDelay = 5 * time.Second
)

// owner is the user that the server runs as and that owns the cluster: the current
// user, or an unprivileged user if that is root.
type owner struct {
	drop     bool
	uid, gid int
	name     string
}

// serverOwner returns the owner of the existing cluster or, if there is none, of a new
// one.
func serverOwner(data string) (owner, error) {
	if os.Geteuid() != 0 {
		return owner{}, nil
	}
	if info, err := os.Stat(data); err == nil {
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid != 0 {
			return owner{drop: true, uid: int(stat.Uid), gid: int(stat.Gid), name: "with uid " + strconv.Itoa(int(stat.Uid))}, nil
		}
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.Atoi(u.Uid)
		gid, gidErr := strconv.Atoi(u.Gid)
		if uidErr == nil && gidErr == nil && uid != 0 {
			return owner{drop: true, uid: uid, gid: gid, name: name}, nil
		}
	}
	return owner{}, &Error{Op: "find an unprivileged user", Err: errors.New(`neither "postgres" nor "nobody" exists`),
		Hint: "PostgreSQL refuses to run as root; run Tally as another user"}
}

// prepareFolder creates the data folder, and checks that the server's user can access
// it. It returns the folder's path without symbolic links.
func prepareFolder(ctx context.Context, dir string) (string, owner, error) {
	if err := mkdirAll(dir); err != nil {
		return dir, owner{}, &Error{Op: "create the data folder", Path: dir, Err: err, Hint: dataHint}
	}
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return dir, owner{}, &Error{Op: "resolve", Path: dir, Err: err}
	}
	o, err := serverOwner(filepath.Join(dir, "pgdata"))
	if err != nil || !o.drop {
		return dir, o, err
	}
	if err := allowTraversal(dir); err != nil {
		return dir, o, &Error{Op: "grant the server's user access to", Path: dir, Err: err, Hint: dataHint}
	}
	if err := o.checkAccess(ctx, dir); err != nil {
		return dir, o, &Error{Op: "access the data folder", Path: dir, Err: err, Hint: dataHint}
	}
	return dir, o, nil
}

const dataHint = "choose another data folder with --data, such as /var/lib/tally"

// mkdirAll creates the missing folders. All users may traverse them, whatever the
// umask.
func mkdirAll(dir string) error {
	err := os.Mkdir(dir, 0o711)
	if errors.Is(err, fs.ErrNotExist) {
		if err := mkdirAll(filepath.Dir(dir)); err != nil {
			return err
		}
		err = os.Mkdir(dir, 0o711)
	}
	if err == nil {
		return os.Chmod(dir, 0o711) //nolint:gosec // the server's user must traverse it
	}
	if info, statErr := os.Stat(dir); statErr == nil && info.IsDir() {
		return nil
	}
	return err
}

// allowTraversal lets other users traverse the data folder itself if root owns it:
// mktemp creates folders with mode 0700.
func allowTraversal(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if mode := info.Mode().Perm(); ok && stat.Uid == 0 && mode&0o011 != 0o011 {
		return os.Chmod(dir, mode|0o011)
	}
	return nil
}

// checkAccess returns an error that names the blocking parent folder if the server's
// user cannot enter dir.
func (o owner) checkAccess(ctx context.Context, dir string) error {
	blocking := o.blockedBy(dir)
	if blocking == "" {
		return nil
	}
	// An access control list may grant access that the permission bits do not.
	probe := o.command(ctx, "/bin/sh", "-c", ":")
	probe.Dir = dir
	if probe.Run() == nil {
		return nil
	}
	return fmt.Errorf("%w: PostgreSQL runs as the user %s, and %s keeps it out", ErrNoAccess, o.name, blocking)
}

// blockedBy returns the topmost folder of the path whose permission bits deny the
// server's user, or "".
func (o owner) blockedBy(dir string) string {
	if !o.drop {
		return ""
	}
	if parent := filepath.Dir(dir); parent != dir {
		if blocking := o.blockedBy(parent); blocking != "" {
			return blocking
		}
	}
	info, err := os.Stat(dir)
	if err != nil {
		return dir
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return dir
	}
	bit := fs.FileMode(0o001)
	switch {
	case int(stat.Uid) == o.uid:
		bit = 0o100
	case int(stat.Gid) == o.gid:
		bit = 0o010
	}
	if info.Mode().Perm()&bit == 0 {
		return dir
	}
	return ""
}

// mkdir creates a folder that only the server's user can access.
func (o owner) mkdir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		err = o.takeOver(dir)
	}
	if err == nil && o.drop {
		err = os.Chown(dir, o.uid, o.gid)
	}
	if err != nil {
		return &Error{Op: "create the folder", Path: dir, Err: err}
	}
	return nil
}

// takeOver accepts an existing folder only if this process's or the server's user owns
// it: in a shared temporary folder another user may have created it.
func (o owner) takeOver(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || (int(stat.Uid) != os.Geteuid() && (!o.drop || int(stat.Uid) != o.uid)) {
		return errors.New("it exists and belongs to another user")
	}
	return os.Chmod(dir, 0o700) //nolint:gosec // a folder
}

// writeSecret writes a file that only the server's user can read.
func (o owner) writeSecret(path, secret string) error {
	err := os.WriteFile(path, []byte(secret+"\n"), 0o600)
	if err == nil && o.drop {
		err = os.Chown(path, o.uid, o.gid)
	}
	if err != nil {
		return &Error{Op: "write", Path: path, Err: err}
	}
	return nil
}

// command returns a command that runs as the server's user in its own session, so that
// the terminal's Ctrl-C does not reach it. Cancellation kills its children too.
func (o owner) command(ctx context.Context, path string, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, path, args...)
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	command.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC", "HOME=/"}
	command.Cancel = func() error { return unix.Kill(-command.Process.Pid, unix.SIGKILL) }
	command.WaitDelay = killDelay
	if o.drop {
		command.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(o.uid), Gid: uint32(o.gid)} //nolint:gosec // ids are not negative
	}
	return command
}

// stop stops the server with a fast shutdown.
func (s *Server) stop() error {
	running := s.postmaster()
	pid := running.pid
	if pid == 0 {
		return nil
	}
	operation := "stop the server, process " + strconv.Itoa(pid) + "; log:"
	if err := unix.Kill(pid, unix.SIGINT); err != nil && !errors.Is(err, unix.ESRCH) {
		return &Error{Op: operation, Path: s.layout.log(), Err: err}
	}
	for deadline := time.Now().Add(stopTimeout); time.Now().Before(deadline); time.Sleep(pollEvery) {
		if !isPostmaster(pid, s.layout.data()) {
			if running.endpoint.host == s.layout.short() {
				_ = os.Remove(running.endpoint.host) // the next start reuses it otherwise
			}
			return nil
		}
	}
	return &Error{Op: operation, Path: s.layout.log(), Err: errors.New("it is still shutting down"), Hint: "the next start will wait for it"}
}
