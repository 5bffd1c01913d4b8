package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/opentax/tally/api"
)

// connections is the number of concurrent clients, each with a persistent connection.
const connections = 32

// answer is a request and the expected response body.
type answer struct{ request, body []byte }

func get(path string, body []byte) answer {
	return answer{[]byte("GET " + path + " HTTP/1.1\r\nHost: bench\r\n\r\n"), body}
}

// listening is a server that listens on a TCP socket.
type listening struct {
	address string
	answers []answer
}

// served accepts connections as the program does.
func served(l net.Listener) net.Listener { return api.Listener(l, nil) }

func listen(b *testing.B, server *http.Server, accept func(net.Listener) net.Listener, answers []answer) *listening {
	b.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go func() {
		if err := server.Serve(accept(listener)); !errors.Is(err, http.ErrServerClosed) {
			b.Error(err)
		}
	}()
	b.Cleanup(func() { _ = server.Shutdown(context.Background()) })
	return &listening{listener.Addr().String(), answers}
}

// serve sends n requests and returns the elapsed time. The clients share the processors
// with the server, so they do minimal work: they write prepared requests and read until
// the body is complete.
func (l *listening) serve(b *testing.B, n int) time.Duration {
	b.Helper()
	var clients sync.WaitGroup
	begin, failed := make(chan struct{}), make(chan error, connections)
	for i := range connections {
		conn, err := net.Dial("tcp", l.address)
		if err != nil {
			b.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(time.Minute)) // an answer may be shorter than expected
		clients.Go(func() {
			defer conn.Close()
			buffer := make([]byte, 4096)
			<-begin
			for k := i; k < n; k += connections {
				if err := l.answers[k%len(l.answers)].get(conn, buffer); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	began := time.Now()
	close(begin)
	clients.Wait()
	took := time.Since(began)
	select {
	case err := <-failed:
		b.Fatal(err)
	default:
	}
	return took
}

// get sends the request on a connection and checks the response.
func (a answer) get(conn net.Conn, buffer []byte) error {
	if _, err := conn.Write(a.request); err != nil {
		return err
	}
	got := 0
	for {
		n, err := conn.Read(buffer[got:])
		if err != nil {
			return fmt.Errorf("after %q: %w", buffer[:got], err)
		}
		got += n
		end := bytes.Index(buffer[:got], []byte("\r\n\r\n"))
		if end < 0 || got < end+4+len(a.body) {
			continue
		}
		if !bytes.HasPrefix(buffer, []byte("HTTP/1.1 200 OK\r\n")) || !bytes.Equal(buffer[end+4:got], a.body) {
			return fmt.Errorf("%q answered with %q", a.request, buffer[:got])
		}
		return nil
	}
}
