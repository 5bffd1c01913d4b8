//go:build !unix

package embedded

import "context"

// Server is not available on this system: it requires Unix file locks and signals.
type Server struct{}

// Start returns ErrUnsupported.
func Start(_ context.Context, c Config) (*Server, error) {
	return nil, &Error{Op: "start in", Path: c.Dir, Err: ErrUnsupported, Hint: "set DATABASE_URL to use another database"}
}

// Installed returns ErrUnsupported.
func Installed(context.Context, string) (int, error) {
	return 0, failed("search for server programs", "", ErrUnsupported)
}

// Close does nothing.
func (*Server) Close() error { return nil }

// URL returns no URL.
func (*Server) URL() string { return "" }

// PID returns 0: no server runs.
func (*Server) PID() int { return 0 }
