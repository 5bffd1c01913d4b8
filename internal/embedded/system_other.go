//go:build !unix

package embedded

import (
	"context"
	"os/exec"
)

// The embedded server requires Unix file locks and signals. On other systems Start
// returns ErrUnsupported.

type owner struct{}

func unsupported(path string) error {
	return &Error{Op: "start in", Path: path, Err: ErrUnsupported, Hint: "set DATABASE_URL to use another database"}
}

func serverOwner(data string) (owner, error) { return owner{}, unsupported(data) }
func prepareFolder(_ context.Context, dir string) (string, owner, error) {
	return dir, owner{}, unsupported(dir)
}
func (owner) checkAccess(_ context.Context, dir string) error { return unsupported(dir) }
func (owner) mkdir(dir string) error                          { return unsupported(dir) }
func (owner) writeSecret(path, _ string) error                { return unsupported(path) }
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
func (*lock) upgrade() (bool, error) { return false, nil }
func (*lock) release() error         { return nil }
