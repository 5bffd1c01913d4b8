package api

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/jobs/ledger"
)

// inflated is an answer's body as the handler wrote it.
func inflated(tb testing.TB, w *httptest.ResponseRecorder) []byte {
	tb.Helper()
	if w.Header().Get("Content-Encoding") != "gzip" {
		return w.Body.Bytes()
	}
	reader, err := gzip.NewReader(bytes.NewReader(w.Body.Bytes()))
	require.NoError(tb, err)
	body, err := io.ReadAll(reader)
	require.NoError(tb, err)
	return body
}

func TestCompression(t *testing.T) {
	t.Parallel()
	buf, logger := newLog()
	h := newHandler(t, Config{
		Logger: logger,
		Runs: fakeRuns{list: func(_ context.Context, _ int64, limit int) ([]ledger.Run, error) {
			return make([]ledger.Run, min(limit, 50)), nil
		}},
		Mounts: map[string]http.Handler{"/ui/": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "missing") {
				http.Error(w, strings.Repeat("x", 5000), http.StatusTeapot)
				return
			}
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, strings.Repeat("page ", 1000))
		})},
	})
	for target, compressed := range map[string]bool{
		"/openapi.json": true, "/docs/swagger-ui-bundle.js": true, "/runs?limit=50": true, "/ui/": true, "/metrics": true, "/ui/missing": true,
		"/transactions/123/summary": false, "/livez": false, "/nowhere": false, "/transactions/7/summary": false,
	} {
		plain := ask(h, http.MethodGet, target)
		assert.Empty(t, plain.Header().Get("Content-Encoding"), target)
		w := ask(h, http.MethodGet, target, "Accept-Encoding: gzip, deflate, br")
		assert.Equal(t, plain.Code, w.Code, target)
		assert.Equal(t, plain.Header().Get("Content-Type"), w.Header().Get("Content-Type"), target)
		assert.Equal(t, plain.Header().Get("Content-Security-Policy"), w.Header().Get("Content-Security-Policy"), target)
		if !compressed {
			assert.Empty(t, w.Header().Get("Content-Encoding"), target)
			continue
		}
		require.Equal(t, "gzip", w.Header().Get("Content-Encoding"), target)
		assert.Contains(t, plain.Header().Get("Vary"), "Accept-Encoding", target)
		assert.Less(t, w.Body.Len(), plain.Body.Len(), target)
		body := inflated(t, w)
		if target != "/metrics" { // which has counted the first request
			assert.Equal(t, plain.Body.String(), string(body), target)
		}
	}
	assert.Contains(t, buf.String(), `"route":"/ui/"`, "the route is known all the same")
	w := ask(h, http.MethodHead, "/runs?limit=50", "Accept-Encoding: gzip")
	assert.Equal(t, http.StatusOK, w.Code)
}
