//go:build unix

package api

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/testdb"
)

const (
	idleAddressVariable = "TALLY_TEST_IDLE_ADDRESS"
	idleConnections     = 10_000
	keptAlive           = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
)

// idleCounter counts the connections that have had an answer and say nothing.
type idleCounter struct {
	mu   sync.Mutex
	idle map[net.Conn]bool
}

func (c *idleCounter) add(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if delete(c.idle, conn); state == http.StateIdle {
		c.idle[conn] = true
	}
}

func (c *idleCounter) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.idle)
}

func TestIdleConnectionsStarveNobody(t *testing.T) { // not parallel: each connection uses a file descriptor at both ends
	var files syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files))
	if files.Cur < idleConnections+1000 {
		t.Skipf("a process may have %d open files here, which are fewer than this takes", files.Cur)
	}
	idle := idleCounter{idle: map[net.Conn]bool{}}
	address := serving(t, newHandler(t, Config{}), func(s *http.Server) { s.ConnState = idle.add })
	holder := exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0], "-test.run=^TestHoldConnections$") // has open files of its own, and ends when it is told to
	holder.Env = append(os.Environ(), idleAddressVariable+"="+address)
	var output bytes.Buffer
	holder.Stdout, holder.Stderr = &output, &output
	leave, err := holder.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, holder.Start())
	t.Cleanup(func() {
		_ = leave.Close()
		require.NoError(t, holder.Wait(), output.String())
	})
	require.Eventually(t, func() bool { return idle.count() >= idleConnections }, testdb.Patience, 10*time.Millisecond)

	for range 200 {
		answer, err := http.Get("http://" + address + summaryTarget)
		require.NoError(t, err)
		_, _ = io.Copy(io.Discard, answer.Body)
		require.NoError(t, answer.Body.Close())
		require.Equal(t, http.StatusOK, answer.StatusCode)
	}
	assert.GreaterOrEqual(t, idle.count(), idleConnections, "no connection was dropped for it")
}

// TestHoldConnections is the other end of the test above, in a process of its own;
// by itself it holds a few.
func TestHoldConnections(t *testing.T) {
	t.Parallel()
	address, count := os.Getenv(idleAddressVariable), idleConnections
	if address == "" {
		address, count = serving(t, newHandler(t, Config{}), nil), 10
	}
	for i := range count {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		require.NoError(t, err, i)
		t.Cleanup(func() { _ = conn.Close() })
		_, err = io.WriteString(conn, keptAlive)
		require.NoError(t, err, i)
		answer, err := http.ReadResponse(bufio.NewReaderSize(conn, 512), nil)
		require.NoError(t, err, i)
		_ = answer.Body.Close()
		require.Equal(t, http.StatusOK, answer.StatusCode)
	}
	if os.Getenv(idleAddressVariable) != "" {
		_, _ = io.Copy(io.Discard, os.Stdin) // until the other process has done
	}
}
