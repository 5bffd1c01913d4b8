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
