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
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	killDelay = 5 * time.Second // bounds the wait for the output of a canceled program's children
	dataHint  = "choose another data folder with --data, such as /var/lib/tally"
)

// owner is the user that the server runs as and that owns the cluster: the current
// user, or an unprivileged user if that is root.
type owner struct {
	credential *syscall.Credential // nil for the current user
	name       string
	folder     bool // also owns the data folder, as a service's user does
}

// serverOwner returns the owner of the existing cluster, or of a new one: that of the data
// folder, unless it is root.
func serverOwner(data string) (owner, error) {
	if os.Geteuid() != 0 {
		return owner{}, nil
	}
	for _, path := range []string{data, filepath.Dir(data)} {
		var stat unix.Stat_t
		if unix.Stat(path, &stat) == nil && stat.Uid != 0 {
			return owner{&syscall.Credential{Uid: stat.Uid, Gid: stat.Gid}, fmt.Sprintf("with uid %d", stat.Uid), path != data}, nil
		}
	}
	for _, name := range []string{"postgres", "nobody"} {
		var c syscall.Credential
		u, err := user.Lookup(name)
		if err == nil {
			_, err = fmt.Sscan(u.Uid+" "+u.Gid, &c.Uid, &c.Gid)
		}
		if err == nil && c.Uid != 0 {
			return owner{credential: &c, name: name}, nil
		}
	}
	return owner{}, &Error{Op: "find an unprivileged user", Err: errors.New(`neither "postgres" nor "nobody" exists`),
		Hint: "PostgreSQL refuses to run as root; run Tally as another user"}
}

func (s *Server) prepareFolder(ctx context.Context) error {
	dir, err := filepath.Abs(s.config.Dir)
	if err == nil {
		err = makeFolder(dir)
	}
	if err == nil {
		s.dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return &Error{Op: "create the data folder", Path: dir, Err: err, Hint: dataHint}
	}
	if s.owner, err = serverOwner(s.data()); err != nil || s.owner.credential == nil {
		return err
	}
	if err = s.owner.admit(s.dir); err == nil {
		err = s.owner.checkAccess(ctx, s.dir)
	}
	if err != nil {
		return &Error{Op: "access the data folder", Path: s.dir, Err: err, Hint: dataHint}
	}
	return nil
}

// makeFolder creates the data folder, which other users cannot read. Its parents stay
// traversable.
func makeFolder(dir string) error {
	mode := fs.FileMode(0o750)
	if os.Geteuid() == 0 {
		mode = 0o700 // admit adds the group of the server's user
	}
	err := mkdirAll(filepath.Dir(dir))
	if err == nil {
		err = os.Mkdir(dir, mode)
	}
	if errors.Is(err, fs.ErrExist) {
		err = os.MkdirAll(dir, mode) // an error if it is a file
	}
	return err
}

// mkdirAll creates the missing folders, which all users may traverse, whatever the umask.
func mkdirAll(dir string) error {
	err := os.Mkdir(dir, 0o711)
	if errors.Is(err, fs.ErrNotExist) {
		if err := mkdirAll(filepath.Dir(dir)); err != nil {
			return err
		}
		err = os.Mkdir(dir, 0o711)
	}
	if err != nil {
		return os.MkdirAll(dir, 0o711) // no error if the folder exists
	}
	return os.Chmod(dir, 0o711)
}

// admit lets the server's user enter the data folder if root owns it: by the folder's
// group, or by the permission of others if another group uses the folder.
func (o owner) admit(dir string) error {
	var stat unix.Stat_t
	if err := unix.Stat(dir, &stat); err != nil || stat.Uid != 0 || stat.Mode&0o001 != 0 {
		return err
	}
	permissions := fs.FileMode(stat.Mode & 0o777)
	switch {
	case stat.Gid == o.credential.Gid && permissions&0o010 != 0:
		return nil
	case stat.Gid == o.credential.Gid, permissions&0o070 == 0:
		return errors.Join(os.Chown(dir, 0, int(o.credential.Gid)), os.Chmod(dir, permissions|0o050))
	}
	return os.Chmod(dir, permissions|0o001)
}

// checkAccess returns an error that names the topmost blocking folder if the server's
// user cannot enter dir. It runs a program there, since permission bits do not show
// access control lists.
func (o owner) checkAccess(ctx context.Context, dir string) error {
	if o.credential == nil {
		return nil
	}
	enter := func(dir string) error {
		probe := o.command(ctx, "/bin/sh", "-c", ":")
		probe.Dir = dir
		return probe.Run()
	}
	err := enter(dir)
	if err == nil || ctx.Err() != nil {
		return err
	}
	for dir != "/" && enter(filepath.Dir(dir)) != nil {
		dir = filepath.Dir(dir)
	}
	return fmt.Errorf("%w: PostgreSQL runs as the user %s, and %s keeps it out: %w", ErrNoAccess, o.name, dir, err)
}

// mkdir creates a folder that only the server's user can access. It accepts an existing
// one only if this process's or the server's user owns it: in a shared temporary folder
// another user may have created it.
func (o owner) mkdir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return failed("create the folder", dir, err)
	}
	folder, err := os.OpenFile(dir, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return failed("open the folder", dir, err)
	}
	var stat unix.Stat_t
	err = unix.Fstat(int(folder.Fd()), &stat)
	if err == nil && !o.owns(stat.Uid) {
		err = errors.New("it exists and belongs to another user")
	}
	if err == nil {
		err = errors.Join(folder.Chmod(0o700), o.chown(folder))
	}
	return failed("create the folder", dir, errors.Join(err, folder.Close()))
}

// owns reports whether uid is the current or the server's user.
func (o owner) owns(uid uint32) bool {
	return int(uid) == os.Geteuid() || o.credential != nil && uid == o.credential.Uid
}

func (o owner) chown(file *os.File) error {
	if o.credential == nil {
		return nil
	}
	return file.Chown(int(o.credential.Uid), int(o.credential.Gid))
}

// command returns a command that runs as the server's user in its own session, so that
// the terminal's Ctrl-C does not reach it. Cancellation kills its children too.
func (o owner) command(ctx context.Context, path string, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, path, args...)
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: o.credential}
	command.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC", "HOME=/"}
	command.Cancel = func() error { return unix.Kill(-command.Process.Pid, unix.SIGKILL) }
	command.WaitDelay = killDelay
	return command
}
