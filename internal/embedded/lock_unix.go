//go:build unix

package embedded

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

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
		return nil, &Error{Op: "open", Path: path, Err: err, Hint: dataHint}
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
			return nil, errors.Join(&Error{Op: "wait for", Path: path, Err: ctx.Err(),
				Hint: "another Tally process is starting or stopping the server"}, file.Close())
		case <-time.After(pollEvery):
		}
	}
}

// alone turns a shared lock into an exclusive one, if nobody else has it. It says
// no on nil, which is no use of the server at all.
func (l *lock) alone() (bool, error) {
	if l == nil {
		return false, nil
	}
	err := unix.Flock(int(l.file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

// release gives the lock back; on nil it does nothing. Closing the file would not
// do: a program that another goroutine is starting at this moment has inherited
// it until it runs, and the lock with it.
func (l *lock) release() error {
	if l == nil {
		return nil
	}
	return errors.Join(unix.Flock(int(l.file.Fd()), unix.LOCK_UN), l.file.Close())
}
