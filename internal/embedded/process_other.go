//go:build !unix

package embedded

import (
	"context"
	"errors"
	"os"
	"os/exec"
)

// On systems without Unix sockets and file locks the embedded server is not
// offered; every call says so.
var errUnsupported = errors.New("not supported on this system; name a database with DATABASE_URL")

type owner struct{}

func prepareFolder(dir string) (owner, error) {
	return owner{}, &Error{Op: "start in", Path: dir, Err: errUnsupported}
}

func (owner) mkdir(string) error               { return errUnsupported }
func (owner) writeSecret(string, string) error { return errUnsupported }
func (owner) openLog(string) (*os.File, error) { return nil, errUnsupported }
func (s *Server) stop() error                  { return errUnsupported }
func runsIn(int, string) bool                  { return false }
func (owner) command(ctx context.Context, path string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, path, args...)
}

type lockKind int

const (
	shared lockKind = iota
	exclusive
)

type lock struct{}

func acquire(context.Context, string, lockKind) (*lock, error) { return nil, errUnsupported }
func (*lock) alone() (bool, error)                             { return false, errUnsupported }
func (*lock) release() error                                   { return nil }
