//go:build !unix

package testdb

import (
	"testing"

	"github.com/opentax/tally/internal/embedded"
)

// Server is not available on this system, as the embedded server is not.
type Server struct{}

// Own skips the test.
func Own(tb testing.TB, _ map[string]string) *Server {
	tb.Helper()
	tb.Skip(embedded.ErrUnsupported)
	return nil
}

// URL returns no URL.
func (*Server) URL() string { return "" }

// Standby is not available on this system.
func (s *Server) Standby() *Server { return s }

// Bouncer is not available on this system.
type Bouncer struct {
	URL      string
	PID      int
	Prepared bool
	Version  float64
}

// NewBouncer skips the test.
func NewBouncer(tb testing.TB, _ string, _ int) *Bouncer {
	tb.Helper()
	tb.Skip(embedded.ErrUnsupported)
	return nil
}

// BouncerPath returns no path.
func BouncerPath() string { return "" }
