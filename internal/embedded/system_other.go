//go:build !unix

package embedded

import (
	"context"
	"os/exec"
)

// Without Unix file locks and signals the embedded server is not offered; the
// first call of Start says so.

type owner struct{}

func unsupported(path string) error {
	return &Error{Op: "start in", Path: path, Err: ErrUnsupported, Hint: "name a database with DATABASE_URL"}
}

func serverOwner(data string) (owner, error) { return owner{}, unsupported(data) }
func prepareFolder(_ context.Context, dir string) (string, owner, error) {
	return dir, owner{}, unsupported(dir)
}
func (owner) mayEnter(_ context.Context, dir string) error { return unsupported(dir) }
func (owner) mkdir(dir string) error                       { return unsupported(dir) }
func (owner) writeSecret(path, _ string) error             { return unsupported(path) }
func (owner) command(ctx context.Context, path string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, path, args...)
}
func (s *Server) stop() error       { return unsupported(s.layout.dir) }
func (s *Server) endOrphans()       {}
func isPostmaster(int, string) bool { return false }

type lockKind int

const (
	shared lockKind = iota
	exclusive
)

type lock struct{}

func acquire(_ context.Context, path string, _ lockKind) (*lock, error) {
	return nil, unsupported(path)
}
func (*lock) alone() (bool, error) { return false, nil }
func (*lock) release() error       { return nil }
