package api

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
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

// cutOff sends a request a byte at a time and returns how long the server bore
// that, and what it said.
func cutOff(t *testing.T, address, start string, every time.Duration) (after time.Duration, answer string) {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	began := time.Now()
	go func() {
		_, err := conn.Write([]byte(start))
		for err == nil {
			time.Sleep(every)
			_, err = conn.Write([]byte("x"))
		}
	}()
	require.NoError(t, conn.SetReadDeadline(began.Add(20*time.Second)))
	said, err := io.ReadAll(bufio.NewReader(conn))
	if err != nil {
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the connection was left open")
	}
	return time.Since(began), string(said)
}

func TestASlowClientIsCutOff(t *testing.T) {
	t.Parallel()
	t.Run("headers", func(t *testing.T) {
		t.Parallel()
		address := serving(t, newHandler(t, withEcho()), nil) // with the limits that the program has
		after, _ := cutOff(t, address, "GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Slow: ", 100*time.Millisecond)
		assert.InDelta(t, readHeaderTimeout.Seconds(), after.Seconds(), 2)
	})
	t.Run("body", func(t *testing.T) {
		t.Parallel()
		address := serving(t, newHandler(t, withEcho()), func(s *http.Server) {
			assert.Equal(t, readTimeout, s.ReadTimeout)
			s.ReadTimeout /= 10
		})
		after, _ := cutOff(t, address, "POST /ui/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n", 50*time.Millisecond)
		assert.InDelta(t, readTimeout.Seconds()/10, after.Seconds(), 1.5)
	})
	t.Run("silent", func(t *testing.T) {
		t.Parallel()
		address := serving(t, newHandler(t, withEcho()), func(s *http.Server) {
			assert.Equal(t, idleTimeout, s.IdleTimeout)
			s.IdleTimeout /= 100
		})
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		began := time.Now()
		_, err = io.WriteString(conn, "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
		require.NoError(t, err)
		require.NoError(t, conn.SetReadDeadline(began.Add(20*time.Second)))
		said, err := io.ReadAll(conn)
		require.NoError(t, err, "closed by the server")
		assert.Contains(t, string(said), "200 OK")
		assert.InDelta(t, idleTimeout.Seconds()/100, time.Since(began).Seconds(), 1)
	})
}

// A client that does not read its answer is cut off as well.
func TestASlowReaderIsCutOff(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	h := newHandler(t, Config{Mounts: map[string]http.Handler{"/ui/": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		var err error
		for err == nil {
			_, err = w.Write(make([]byte, 1<<20))
		}
		ended <- err
	})}})
	address := serving(t, h, func(s *http.Server) {
		assert.Equal(t, writeTimeout, s.WriteTimeout)
		assert.Greater(t, s.WriteTimeout, defaultRequestTimeout, "an operation's deadline comes first")
		s.WriteTimeout /= 60
	})
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	_, err = io.WriteString(conn, "GET /ui/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
	require.NoError(t, err)
	select {
	case err := <-ended:
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
	case <-time.After(10 * time.Second):
		t.Error("the handler still writes to a closed connection")
	}
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
		assert.Empty(t, w.Header().Get("Strict-Transport-Security"), "nothing is encrypted here")
		assert.Equal(t, []string{policy}, w.Header().Values("Content-Security-Policy"), target)
	}
	encrypted := httptest.NewRequest(http.MethodGet, "https://localhost/livez", nil) // with TLS, as httptest makes it
	w := httptest.NewRecorder()
	h.ServeHTTP(w, encrypted)
	assert.Equal(t, "max-age=31536000", w.Header().Get("Strict-Transport-Security"))
	for _, policy := range []string{dataPolicy, console.Policy, mountPolicy} {
		assert.Contains(t, policy, "default-src 'none'")
		assert.Contains(t, policy, "frame-ancestors 'none'")
		assert.NotContains(t, policy, "unsafe-eval")
		assert.NotContains(t, policy, "script-src 'self' '")
	}
}
