package api

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const soon = 30 * time.Millisecond

// patient is a connection, the other end of it, and how often its timer was moved.
func patient(t *testing.T) (conn *patientConn, other net.Conn, moves *int) {
	t.Helper()
	server, client := net.Pipe()
	t.Cleanup(func() { _, _ = server.Close(), client.Close() })
	conn, moves = newPatientConn(server), new(int)
	move := conn.in.move
	conn.in.move = func(at time.Time) error {
		*moves++
		return move(at)
	}
	return conn, client, moves
}

func TestDeadlinesHold(t *testing.T) {
	t.Parallel()
	conn, _, moves := patient(t)
	began := time.Now()
	require.NoError(t, conn.SetReadDeadline(began.Add(time.Hour)))
	require.NoError(t, conn.SetReadDeadline(began.Add(soon)))
	assert.Zero(t, *moves, "nobody waits")
	_, err := conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	assert.GreaterOrEqual(t, time.Since(began), soon)
	_, err = conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded, "it has passed")

	require.NoError(t, conn.SetDeadline(time.Now().Add(soon)))
	_, err = conn.Write([]byte("nobody reads"))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
}

// The connection still has an earlier deadline, which is none any more.
func TestDeadlinesThatMoveAwayDoNotStrike(t *testing.T) {
	t.Parallel()
	for name, later := range map[string]time.Time{"later": time.Now().Add(time.Hour), "none": {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, other, _ := patient(t)
			go func() {
				_, _ = other.Write([]byte("a"))
				time.Sleep(4 * soon)
				_, _ = other.Write([]byte("b"))
				time.Sleep(4 * soon)
				_, _ = io.ReadFull(other, make([]byte, 4))
			}()
			one := make([]byte, 1)
			require.NoError(t, conn.SetDeadline(time.Now().Add(soon)))
			_, err := conn.Read(one)
			require.NoError(t, err)
			require.NoError(t, conn.SetDeadline(later))
			_, err = conn.Read(one)
			require.NoError(t, err)
			assert.Equal(t, "b", string(one))
			n, err := conn.Write([]byte("text"))
			require.NoError(t, err)
			assert.Equal(t, 4, n)
		})
	}
}

// The server wakes whoever reads by a deadline in the past, and reads on afterwards.
func TestAReaderIsWoken(t *testing.T) {
	t.Parallel()
	conn, other, _ := patient(t)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Hour)))
	read := make(chan error)
	go func() {
		_, err := conn.Read(make([]byte, 1))
		read <- err
	}()
	time.Sleep(soon)
	require.NoError(t, conn.SetReadDeadline(time.Unix(1, 0)))
	require.ErrorIs(t, <-read, os.ErrDeadlineExceeded)
	require.NoError(t, conn.SetReadDeadline(time.Time{}))
	go func() { _, _ = other.Write([]byte("a")) }()
	n, err := conn.Read(make([]byte, 1))
	require.NoError(t, err)
	assert.Equal(t, 1, n)
}

func TestListenerCutsSlowClientsOff(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := NewServer("", newHandler(t, Config{}))
	server.ReadHeaderTimeout, server.ReadTimeout, server.IdleTimeout = 5*soon, 5*soon, 5*soon
	go func() { _ = server.Serve(Listener(listener, nil)) }()
	t.Cleanup(func() { _ = server.Shutdown(context.Background()) })
	for name, sent := range map[string]string{
		"half a request": "GET /livez HTTP/1.1\r\nHost: a\r\n", "nothing": "", "then nothing": "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		began := time.Now()
		conn, err := net.Dial("tcp", listener.Addr().String())
		require.NoError(t, err)
		require.NoError(t, conn.SetDeadline(began.Add(10*time.Second)))
		_, err = conn.Write([]byte(sent))
		require.NoError(t, err)
		answer, err := io.ReadAll(conn)
		require.NoError(t, err, name)
		assert.GreaterOrEqual(t, time.Since(began), 5*soon, name)
		assert.Equal(t, name == "then nothing", len(answer) > len("HTTP/1.1 200 OK") && string(answer[:15]) == "HTTP/1.1 200 OK", name)
		require.NoError(t, conn.Close())
	}
	client := http.Client{} // and one that keeps asking is not
	began := time.Now()
	for time.Since(began) < 15*soon {
		response, err := client.Get("http://" + listener.Addr().String() + "/livez")
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		time.Sleep(soon / 3)
	}
}
