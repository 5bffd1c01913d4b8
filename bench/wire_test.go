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
)

// connections is how many clients ask at once, each on one connection that it keeps.
const connections = 32

// answer is what a client asks for, and the body that it insists on.
type answer struct{ request, body []byte }

func get(path string, body []byte) answer {
	return answer{[]byte("GET " + path + " HTTP/1.1\r\nHost: bench\r\n\r\n"), body}
}

// listening is a server on a real socket.
type listening struct {
	address string
	answers []answer
}

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

// serve asks n times and gives the time that took. The clients are as thin as they
// can be, since they take their time from the same processors as the server: they
// write what was put together before, and read until they have the body whole.
func (l *listening) serve(b *testing.B, n int) time.Duration {
	b.Helper()
	var clients sync.WaitGroup
	begin, failed := make(chan struct{}), make(chan error, connections)
	for i := range connections {
		conn, err := net.Dial("tcp", l.address)
		if err != nil {
			b.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(time.Minute)) // for an answer that is shorter than expected
		clients.Go(func() {
			defer conn.Close()
			buffer := make([]byte, 4096)
			<-begin
			for k := i; k < n; k += connections {
				if err := l.answers[k%len(l.answers)].from(conn, buffer); err != nil {
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

// from asks on a connection and checks what comes.
func (a answer) from(conn net.Conn, buffer []byte) error {
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
