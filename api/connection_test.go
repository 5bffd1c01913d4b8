//go:build unix

package api

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

var (
	holdAddress = flag.String("hold", "", "used by the tests themselves: be the clients of TestIdleConnections at this address")
	holdCount   = flag.Int("hold-count", 0, "how many of them")
)

// patience is how long anything may take here. It measures nothing: only what has
// stopped for good takes so long.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	flag.Parse()
	if *holdAddress != "" {
		if err := holdIdle(*holdAddress, *holdCount); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// listening serves with NewServer's settings as change leaves them, and counts the
// connections by their state.
func listening(tb testing.TB, h http.Handler, change func(*http.Server)) (address string, count *connections) {
	tb.Helper()
	count = &connections{states: map[net.Conn]http.ConnState{}}
	server := NewServer("", h)
	change(server)
	server.ConnState = count.changed
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	tb.Cleanup(func() {
		require.NoError(tb, server.Close())
		require.ErrorIs(tb, <-served, http.ErrServerClosed)
	})
	return listener.Addr().String(), count
}

type connections struct {
	mu     sync.Mutex
	states map[net.Conn]http.ConnState
}

func (c *connections) changed(conn net.Conn, state http.ConnState) {
	if state == http.StateNew { // what the kernel keeps would count as sent
		_ = conn.(*net.TCPConn).SetWriteBuffer(32 << 10)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if state == http.StateClosed {
		delete(c.states, conn)
		return
	}
	c.states[conn] = state
}

// open are the connections, and idle those that have been answered and wait.
func (c *connections) open() (open, idle int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, state := range c.states {
		if state == http.StateIdle {
			idle++
		}
	}
	return len(c.states), idle
}

func dial(tb testing.TB, address string) *net.TCPConn {
	tb.Helper()
	conn, err := net.Dial("tcp", address)
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = conn.Close() })
	require.NoError(tb, conn.SetDeadline(time.Now().Add(patience)))
	return conn.(*net.TCPConn)
}

// TestClientThatDripsItsHeadersIsCutOff sends a byte now and then, so that the
// connection is never silent.
func TestClientThatDripsItsHeadersIsCutOff(t *testing.T) {
	t.Parallel()
	address, count := listening(t, newHandler(t, Config{}), func(s *http.Server) {
		assert.LessOrEqual(t, s.ReadHeaderTimeout, 5*time.Second)
		s.ReadHeaderTimeout /= 20
	})
	conn := dial(t, address)
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, conn)
		ended <- err
	}()
	headers := "GET /livez HTTP/1.1\r\nHost: tally\r\nX-Drip: " + strings.Repeat("z", 1<<20)
	for i, cut := 0, false; !cut; i++ {
		if _, err := io.WriteString(conn, headers[i:i+1]); err != nil {
			break // the other side is gone
		}
		select {
		case err := <-ended:
			assert.NotErrorIs(t, err, os.ErrDeadlineExceeded, "nobody has cut it off")
			cut = true
		case <-time.After(20 * time.Millisecond):
		}
	}
	assert.Eventually(t, func() bool { open, _ := count.open(); return open == 0 }, patience, time.Millisecond)
}

// TestClientThatReadsTooSlowlyIsCutOff takes a large answer in small sips.
func TestClientThatReadsTooSlowlyIsCutOff(t *testing.T) {
	t.Parallel()
	rows := make([]Reject, 8)
	for i := range rows {
		rows[i] = Reject{FileID: 1, Line: int64(i + 2), Outcome: "rejected", Raw: strings.Repeat("\x01", 64<<10)}
	}
	const size = 8 * 6 * 64 << 10 // a control character is six bytes of JSON
	h := newHandler(t, Config{Runs: fakeRuns{rejects: func(_ context.Context, q RejectQuery) ([]Reject, error) {
		return rows[:min(q.Limit, len(rows))], nil
	}}})
	unhurried, _ := listening(t, h, func(*http.Server) {})
	address, count := listening(t, h, func(s *http.Server) {
		assert.LessOrEqual(t, s.WriteTimeout, time.Minute)
		s.WriteTimeout /= 60
	})
	const request = "GET /runs/7/rejects HTTP/1.1\r\nHost: tally\r\nConnection: close\r\n\r\n"

	brisk := dial(t, unhurried)
	_, err := brisk.Write([]byte(request))
	require.NoError(t, err)
	whole, err := io.Copy(io.Discard, brisk)
	require.NoError(t, err)
	require.Greater(t, whole, int64(size), "who reads has all of it")

	slow := dial(t, address)
	require.NoError(t, slow.SetReadBuffer(32<<10))
	_, err = slow.Write([]byte(request))
	require.NoError(t, err)
	var sipped int64
	for open := 1; open > 0; open, _ = count.open() {
		n, err := slow.Read(make([]byte, 512))
		sipped += int64(n)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "nobody has cut it off")
		if err != nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	rest, _ := io.Copy(io.Discard, slow)
	assert.Less(t, sipped+rest, whole, "the end of the answer never came")
}

// TestIdleConnections keeps 10,000 of them open, or as many as the limit on open
// files lets, and works on one more. The clients are a process of their own, since
// both ends in one would need twice the files.
func TestIdleConnections(t *testing.T) {
	t.Parallel()
	var limit syscall.Rlimit // Go has raised the soft one as far as it goes
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	idle := int(min(10_000, limit.Cur/2))
	t.Logf("%d idle connections, with %d open files allowed", idle, limit.Cur)
	h, pool := onDatabase(t)
	load(t, pool, 7, 1, 2.5)
	address, count := listening(t, h, func(*http.Server) {})

	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	clients := exec.CommandContext(ctx, os.Args[0], "-hold", address, "-hold-count", fmt.Sprint(idle))
	clients.Stderr = os.Stderr
	done, err := clients.StdinPipe()
	require.NoError(t, err)
	said, err := clients.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, clients.Start())
	line, err := bufio.NewReader(said).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "all are idle\n", line)
	require.Eventually(t, func() bool { _, waiting := count.open(); return waiting == idle }, patience, time.Millisecond)

	working := dial(t, address)
	answers := bufio.NewReader(working)
	for range 200 {
		_, err := io.WriteString(working, "GET /transactions/7/summary HTTP/1.1\r\nHost: tally\r\n\r\n")
		require.NoError(t, err)
		body, err := answerOf(answers, http.StatusOK)
		require.NoError(t, err)
		require.Equal(t, `{"user_id":7,"total_transactions":2,"total_amount":3.50,"average_transaction_amount":1.75}`+"\n", body)
	}
	open, _ := count.open()
	assert.Equal(t, idle+1, open, "none was closed to make room")
	require.NoError(t, done.Close())
	require.NoError(t, clients.Wait(), "each of them is answered still")
}

// holdIdle opens connections, has each answered once, keeps them until its input
// ends, and has each answered again.
func holdIdle(address string, count int) error {
	conns := make([]net.Conn, count)
	var all errgroup.Group
	all.SetLimit(64)
	for i := range conns {
		all.Go(func() (err error) {
			if conns[i], err = net.Dial("tcp", address); err != nil {
				return err
			}
			return alive(conns[i])
		})
	}
	if err := all.Wait(); err != nil {
		return err
	}
	fmt.Println("all are idle")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	for _, conn := range conns {
		all.Go(func() error { return alive(conn) })
	}
	return all.Wait()
}

func alive(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "GET /livez HTTP/1.1\r\nHost: tally\r\n\r\n"); err != nil {
		return err
	}
	_, err := answerOf(bufio.NewReader(conn), http.StatusOK)
	return err
}

func answerOf(r *bufio.Reader, status int) (string, error) {
	answer, err := http.ReadResponse(r, nil)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != status {
		err = fmt.Errorf("answered with %s", answer.Status)
	}
	return string(body), err
}
