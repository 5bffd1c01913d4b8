package api

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/api/console"
)

// serving is a handler behind the server that the program has.
func serving(t *testing.T, h http.Handler, change func(*http.Server)) (address string) {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.Config = NewServer("", h)
	if change != nil {
		change(server.Config)
	}
	server.Listener = Listener(server.Listener, nil)
	server.Start()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// echo is mounted, since no operation takes a body yet.
func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_, _ = fmt.Fprint(w, len(body))
}

func withEcho() Config {
	return Config{Mounts: map[string]http.Handler{"/ui/": http.HandlerFunc(echo)}}
}

func TestOversizedHeaders(t *testing.T) {
	t.Parallel()
	address := serving(t, newHandler(t, Config{}), nil)
	for _, tc := range []struct {
		size, status int
		contentType  string
	}{
		{8 << 10, http.StatusOK, "application/json"},
		{31 << 10, http.StatusOK, "application/json"},
		{33 << 10, http.StatusRequestHeaderFieldsTooLarge, problemContentType},
		{128 << 10, http.StatusRequestHeaderFieldsTooLarge, problemContentType},
	} {
		for _, inPath := range []bool{false, true} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/livez", nil)
			require.NoError(t, err)
			if inPath && tc.status != http.StatusOK {
				r.URL.Path = "/" + strings.Repeat("x", tc.size)
			} else {
				r.Header.Set("X-Padding", strings.Repeat("x", tc.size))
			}
			answer, err := http.DefaultClient.Do(r)
			require.NoError(t, err)
			_, _ = io.Copy(io.Discard, answer.Body)
			require.NoError(t, answer.Body.Close())
			assert.Equal(t, tc.status, answer.StatusCode, tc.size)
			assert.Equal(t, tc.contentType, answer.Header.Get("Content-Type"), tc.size)
		}
	}
	requireProblem(t, ask(newHandler(t, Config{}), http.MethodGet, "/livez", "X-Padding: "+long(maxHeaderBytes)),
		http.StatusRequestHeaderFieldsTooLarge, "headers-too-large")
}

func TestOversizedBody(t *testing.T) {
	t.Parallel()
	h := newHandler(t, withEcho())
	post := func(body io.Reader) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/ui/", body))
		return w
	}
	assert.Equal(t, "65536", post(bytes.NewReader(make([]byte, maxBodyBytes))).Body.String())
	requireProblem(t, post(bytes.NewReader(make([]byte, maxBodyBytes+1))), http.StatusRequestEntityTooLarge, "content-too-large")
	w := post(io.MultiReader(bytes.NewReader(make([]byte, maxBodyBytes+1)))) // of a length that is not known before
	assert.Equal(t, http.StatusBadRequest, w.Code, "the reader has cut it off")
}

// What huma reads is a problem past the limit as well, however it is sent.
func TestOversizedBodyOfAnOperation(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	_, logger := newLog()
	type input struct {
		Body struct {
			Text string `json:"text"`
		}
	}
	huma.Register(humago.New(mux, humaConfig()), huma.Operation{Method: http.MethodPost, Path: "/things"},
		func(context.Context, *input) (*struct{}, error) { return nil, nil })
	h, err := newMiddleware(mux, newService(Config{Logger: logger}))
	require.NoError(t, err)
	for size, status := range map[int]int{maxBodyBytes / 2: http.StatusNoContent, maxBodyBytes: http.StatusRequestEntityTooLarge} {
		body := `{"text":"` + strings.Repeat("x", size) + `"}`
		for _, sent := range []io.Reader{strings.NewReader(body), io.MultiReader(strings.NewReader(body))} {
			r := httptest.NewRequest(http.MethodPost, "/things", sent)
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if require.Equal(t, status, w.Code, w.Body.String()); status >= http.StatusBadRequest {
				requireProblem(t, w, status, "content-too-large")
			}
		}
	}
}

// pipes accepts one end of each pipe that dial makes. Unlike sockets, pipes wait by the clock of a
// synctest bubble.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	conn, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (p pipes) Close() error   { close(p); return nil } // the server calls it once
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p pipes) dial() net.Conn {
	near, far := net.Pipe()
	p <- far
	return near
}

// dialed serves h with the limits that the program has, and returns a connection to it.
func dialed(t *testing.T, h http.Handler) net.Conn {
	t.Helper()
	server, listener := NewServer("", h), make(pipes)
	go func() { assert.ErrorIs(t, server.Serve(Listener(listener, nil)), http.ErrServerClosed) }()
	conn := listener.dial()
	t.Cleanup(func() {
		_ = conn.Close()
		_ = server.Close()
	})
	return conn
}

func TestASlowClientIsCutOff(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		start string
		every time.Duration // between single bytes after the start, if not 0
		limit time.Duration
		said  string
	}{
		"headers": {"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Slow: ", 100 * time.Millisecond, readHeaderTimeout, ""},
		"body":    {"POST /ui/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n", 50 * time.Millisecond, readTimeout, "400 Bad Request"},
		"silent":  {"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n", 0, idleTimeout, "200 OK"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				conn, began := dialed(t, newHandler(t, withEcho())), time.Now()
				var client sync.WaitGroup
				client.Go(func() {
					_, err := io.WriteString(conn, c.start)
					for err == nil && c.every > 0 {
						time.Sleep(c.every)
						_, err = conn.Write([]byte("x"))
					}
				})
				said, err := io.ReadAll(conn)
				require.NoError(t, err, "closed by the server")
				assert.Contains(t, string(said), c.said)
				assert.Equal(t, c.limit, time.Since(began))
				client.Wait()
			})
		})
	}
}

// A client that does not read its answer is cut off as well.
func TestASlowReaderIsCutOff(t *testing.T) {
	t.Parallel()
	assert.Greater(t, writeTimeout, defaultRequestTimeout, "an operation's deadline comes first")
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error)
		h := newHandler(t, Config{Mounts: map[string]http.Handler{"/ui/": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			var err error
			for err == nil {
				_, err = w.Write(make([]byte, 1<<20))
			}
			ended <- err
		})}})
		conn, began := dialed(t, h), time.Now()
		_, err := io.WriteString(conn, "GET /ui/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
		require.NoError(t, err)
		assert.ErrorIs(t, <-ended, os.ErrDeadlineExceeded)
		assert.Equal(t, writeTimeout, time.Since(began))
	})
}

func TestSecurityHeaders(t *testing.T) {
	t.Parallel()
	c := withEcho()
	c.Mounts["/own/"] = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'self'")
		_, _ = io.WriteString(w, "a page")
	})
	c.Mounts["/silent/"] = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	h := newHandler(t, c)
	for target, policy := range map[string]string{
		"/transactions/123/summary": dataPolicy, "/nowhere": dataPolicy, "/livez": dataPolicy, "/openapi.json": dataPolicy,
		"/docs": console.Policy, "/problems/": console.Policy, "/problems/not-found": console.Policy,
		"/ui/": mountPolicy, "/own/": "default-src 'self'", "/silent/": dataPolicy, "/": dataPolicy,
	} {
		w := ask(h, http.MethodGet, target)
		assert.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"), target)
		want := []string{"", "", ""} // not where no browser shows it
		if strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") || target == "/ui/" || target == "/own/" {
			want = []string{"no-referrer", "same-origin", "DENY"}
		}
		got := []string{w.Header().Get("Referrer-Policy"), w.Header().Get("Cross-Origin-Resource-Policy"), w.Header().Get("X-Frame-Options")}
		assert.Equal(t, want, got, target)
		assert.Equal(t, []string{policy}, w.Header().Values("Content-Security-Policy"), target)
	}
	for _, policy := range []string{dataPolicy, console.Policy, mountPolicy} {
		assert.Contains(t, policy, "default-src 'none'")
		assert.Contains(t, policy, "frame-ancestors 'none'")
		assert.NotContains(t, policy, "unsafe-eval")
		assert.NotContains(t, policy, "script-src 'self' '")
	}
}
