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

// stopTimeout bounds the wait for a fast shutdown, which writes a checkpoint.
const stopTimeout = 2 * time.Minute

// owner is who the server runs as and whom the cluster belongs to: ourselves,
// or for root an unprivileged user.
type owner struct {
	drop     bool
	uid, gid int
	name     string
}

func serverOwner() (owner, error) {
	if os.Geteuid() != 0 {
		return owner{}, nil
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
	return owner{}, &Error{Op: "find an unprivileged user", Err: errors.New("neither postgres nor nobody exists"),
		Hint: "PostgreSQL refuses to run as root: run Tally as another user"}
}

// prepareFolder makes the data folder, and makes sure that the server's user can
// reach what will lie in it.
func prepareFolder(dir string) (owner, error) {
	o, err := serverOwner()
	if err != nil {
		return o, err
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return o, &Error{Op: "make the data folder", Path: dir, Err: err, Hint: "choose another one with --data"}
	}
	if !o.drop {
		return o, nil
	}
	if err := openUp(dir); err != nil {
		return o, err
	}
	for parent := filepath.Dir(dir); ; parent = filepath.Dir(parent) {
		if err := o.reachable(parent); err != nil {
			return o, err
		}
		if parent == filepath.Dir(parent) {
			return o, nil
		}
	}
}

// openUp lets others pass through the data folder itself, which is ours.
func openUp(dir string) error {
	info, err := os.Stat(dir)
	if err == nil && info.Mode().Perm()&0o001 == 0 {
		err = os.Chmod(dir, info.Mode().Perm()|0o011)
	}
	if err != nil {
		return &Error{Op: "open the data folder to the server's user", Path: dir, Err: err}
	}
	return nil
}

func (o owner) reachable(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return &Error{Op: "look at", Path: dir, Err: err}
	}
	mode := info.Mode().Perm()
	if mode&0o001 != 0 {
		return nil
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok &&
		(int(stat.Uid) == o.uid && mode&0o100 != 0 || int(stat.Gid) == o.gid && mode&0o010 != 0) {
		return nil
	}
	return &Error{Op: "reach the data folder through", Path: dir,
		Err:  fmt.Errorf("PostgreSQL runs as the user %s, who may not enter it", o.name),
		Hint: "choose another data folder with --data, such as /var/lib/tally"}
}

// mkdir makes a folder for the server alone.
func (o owner) mkdir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		err = ownFolder(dir, o)
	}
	if err == nil && o.drop {
		err = os.Chown(dir, o.uid, o.gid)
	}
	if err != nil {
		return &Error{Op: "make the folder", Path: dir, Err: err}
	}
	return nil
}

// ownFolder refuses a folder that somebody else has put there.
func ownFolder(dir string, o owner) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || (int(stat.Uid) != os.Geteuid() && (!o.drop || int(stat.Uid) != o.uid)) {
		return errors.New("it is there already and belongs to somebody else")
	}
	return os.Chmod(dir, 0o700)
}

func (o owner) writeSecret(path, secret string) error {
	if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
		return &Error{Op: "write", Path: path, Err: err}
	}
	return o.give(path)
}

func (o owner) give(path string) error {
	if !o.drop {
		return nil
	}
	if err := os.Chown(path, o.uid, o.gid); err != nil {
		return &Error{Op: "hand over", Path: path, Err: err}
	}
	return nil
}

func (o owner) openLog(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, &Error{Op: "open", Path: path, Err: err}
	}
	return file, nil
}

// command is a program run as the server's user, in a process group of its own.
func (o owner) command(ctx context.Context, path string, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, path, args...)
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC", "HOME=/"}
	if o.drop {
		command.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(o.uid), Gid: uint32(o.gid)} //nolint:gosec // ids are not negative
	}
	return command
}

// runsIn tells whether a process is a postmaster of the cluster, and not some
// other program that has got the number of one that is gone.
func runsIn(pid int, data string) bool {
	if err := unix.Kill(pid, 0); err != nil && !errors.Is(err, unix.EPERM) {
		return false
	}
	working, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
	if err != nil {
		return true // no /proc, or not ours to look at: PostgreSQL itself will tell
	}
	return working == data
}

// stop ends the server by a fast shutdown.
func (s *Server) stop() error {
	pid := s.postmaster()
	if pid == 0 {
		return nil
	}
	if err := unix.Kill(pid, unix.SIGINT); err != nil && !errors.Is(err, unix.ESRCH) {
		return &Error{Op: "stop process " + strconv.Itoa(pid), Err: err}
	}
	for deadline := time.Now().Add(stopTimeout); time.Now().Before(deadline); time.Sleep(pollEvery) {
		if s.postmaster() != pid {
			return nil
		}
	}
	return &Error{Op: "stop process " + strconv.Itoa(pid), Err: errors.New("it is still there"), Hint: "its log is " + s.layout.log()}
}

type lockKind int

const (
	shared    lockKind = unix.LOCK_SH
	exclusive lockKind = unix.LOCK_EX
)

// lock is a file lock that the kernel takes back when the process ends.
type lock struct{ file *os.File }

// acquire waits for a lock. It polls, since flock cannot be interrupted.
func acquire(ctx context.Context, path string, kind lockKind) (*lock, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, &Error{Op: "open", Path: path, Err: err}
	}
	for {
		err := unix.Flock(int(file.Fd()), int(kind)|unix.LOCK_NB)
		if err == nil {
			return &lock{file}, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(&Error{Op: "lock", Path: path, Err: err}, file.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(&Error{Op: "wait for", Path: path, Err: ctx.Err(), Hint: "another Tally process is starting or stopping the server"}, file.Close())
		case <-time.After(pollEvery):
		}
	}
}

// alone turns a shared lock into an exclusive one, if nobody else has it.
func (l *lock) alone() (bool, error) {
	err := unix.Flock(int(l.file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

// release gives the lock back; on nil it does nothing.
func (l *lock) release() error {
	if l == nil {
		return nil
	}
	return l.file.Close()
}
