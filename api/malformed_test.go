package api

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What net/http's server answers by itself is a problem as well.
func TestMalformedRequestsAreProblems(t *testing.T) {
	t.Parallel()
	log, logger := newLog()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := httptest.Server{Listener: Listener(listener, logger), Config: NewServer("", newHandler(t, Config{}))}
	server.Start()
	t.Cleanup(server.Close)
	const mark = "zQ7mark"
	for sent, want := range map[string]struct {
		status int
		kind   string
	}{
		mark + "\r\n\r\n":        {http.StatusBadRequest, "/problems/bad-request"},
		"GET / HTTP/1.1\r\n\r\n": {http.StatusBadRequest, "/problems/bad-request"},
		"GET /livez HTTP/1.1\r\nHost: " + mark + "\r\nHost: b\r\n\r\n":                              {http.StatusBadRequest, "/problems/bad-request"},
		"GET /livez HTTP/1.1\r\nHost: a b\r\n\r\n":                                                  {http.StatusBadRequest, "/problems/bad-request"},
		"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n":                                                      {http.StatusBadRequest, "/problems/bad-request"},
		"GET /livez HTTP/1.1\r\nHost: a\r\nContent-Length: " + mark + "\r\n\r\n":                    {http.StatusBadRequest, "/problems/bad-request"},
		"GET /livez HTTP/1.1\r\nHost: a\r\nX-" + mark + "\x00: 1\r\n\r\n":                           {http.StatusBadRequest, "/problems/bad-request"},
		"GET /livez HTTP/1.1\r\nHost: a\r\nX-Padding: " + long(maxServerHeaderBytes+8<<10) + "\r\n": {http.StatusRequestHeaderFieldsTooLarge, "/problems/headers-too-large"},
		"GET /livez HTTP/7.0\r\nHost: a\r\n\r\n":                                                    {http.StatusHTTPVersionNotSupported, "about:blank"},
		"POST /runs HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: " + mark + "\r\n\r\n":                 {http.StatusNotImplemented, "about:blank"},
		"GET /livez HTTP/1.1\r\nHost: a\r\nExpect: " + mark + "\r\n\r\n":                            {http.StatusExpectationFailed, "about:blank"},
	} {
		conn, err := net.Dial("tcp", listener.Addr().String())
		require.NoError(t, err)
		require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
		_, err = io.WriteString(conn, sent)
		require.NoError(t, err)
		reader := bufio.NewReader(conn)
		answer, err := http.ReadResponse(reader, nil)
		require.NoError(t, err, sent)
		body, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		assert.Equal(t, want.status, answer.StatusCode, "%.80s", sent)
		assert.True(t, answer.Close, sent)
		assert.Equal(t, problemContentType, answer.Header.Get("Content-Type"), sent)
		assert.Equal(t, "no-store", answer.Header.Get("Cache-Control"))
		assert.Equal(t, "nosniff", answer.Header.Get("X-Content-Type-Options"))
		assert.NotEmpty(t, answer.Header.Get("Date"))
		var p Problem
		require.NoError(t, json.Unmarshal(body, &p))
		assert.Equal(t, want.kind, p.Type, "%.80s", sent)
		assert.Equal(t, want.status, p.Status)
		assert.NotEmpty(t, p.Title)
		assert.NotContains(t, string(body), mark)
		assert.Equal(t, answer.Header.Get(requestIDHeader), p.RequestID)
		assert.Contains(t, log.String(), p.RequestID)
		_, err = reader.ReadByte()
		assert.ErrorIs(t, err, io.EOF, "nothing follows, and the connection is closed")
		require.NoError(t, conn.Close())
	}
	assert.NotContains(t, log.String(), mark)
}

// Handlers' answers are passed on as they are, those in plain text too.
func TestAnswersOfHandlersAreNotTouched(t *testing.T) {
	t.Parallel()
	h := newHandler(t, Config{Mounts: map[string]http.Handler{"/ui/": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		http.Error(w, "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n", http.StatusBadRequest)
	})}})
	response, err := http.Get("http://" + serving(t, h, nil) + "/ui/")
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	assert.Equal(t, "text/plain; charset=utf-8", response.Header.Get("Content-Type"))
	assert.True(t, strings.HasPrefix(string(body), "HTTP/1.1 400 Bad Request\r\n"))
}
