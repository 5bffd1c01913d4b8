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

// lock is a file lock. The kernel releases it when the process ends.
type lock struct{ file *os.File }

// acquire waits for a lock. It polls, since a blocking flock ignores the context.
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

// upgrade converts the shared lock into an exclusive one and reports whether it could:
// it cannot while another process holds the lock, or if l is nil.
func (l *lock) upgrade() (bool, error) {
	if l == nil {
		return false, nil
	}
	err := unix.Flock(int(l.file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

// release releases the lock; on nil it does nothing. Closing the file is not enough: a
// child process that another goroutine is starting inherits the file, and the lock
// with it, until it calls exec.
func (l *lock) release() error {
	if l == nil {
		return nil
	}
	return errors.Join(unix.Flock(int(l.file.Fd()), unix.LOCK_UN), l.file.Close())
}
