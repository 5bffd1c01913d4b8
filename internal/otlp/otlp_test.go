package otlp_test

import (
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	v1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/opentax/tally/internal/otlp"
)

func spans(name string) []*tracepb.ResourceSpans {
	return []*tracepb.ResourceSpans{{ScopeSpans: []*tracepb.ScopeSpans{{Spans: []*tracepb.Span{{Name: name}}}}}}
}

// A collector gets its own kind of request, with the headers that were asked for.
func TestUpload(t *testing.T) {
	t.Parallel()
	for name, zipped := range map[string]bool{"plain": false, "gzip": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				assert.Equal(t, "/v1/traces", r.URL.Path)
				assert.Equal(t, "application/x-protobuf", r.Header.Get("Content-Type"))
				assert.Equal(t, "secret", r.Header.Get("Api-Key"))
				body := io.Reader(r.Body)
				if zipped {
					assert.Equal(t, "gzip", r.Header.Get("Content-Encoding"))
					body, _ = gzip.NewReader(r.Body)
				}
				bytes, err := io.ReadAll(body)
				assert.NoError(t, err)
				var request v1.ExportTraceServiceRequest
				assert.NoError(t, proto.Unmarshal(bytes, &request))
				got = append(got, request.ResourceSpans[0].ScopeSpans[0].Spans[0].Name)
			}))
			t.Cleanup(server.Close)
			c := otlp.New(otlp.Config{URL: server.URL + "/v1/traces", Headers: map[string]string{"Api-Key": "secret"}, Gzip: zipped, Timeout: time.Minute})
			require.NoError(t, c.Start(t.Context()))
			require.NoError(t, c.UploadTraces(t.Context(), spans("a")))
			require.NoError(t, c.UploadTraces(t.Context(), spans("b")))
			require.NoError(t, c.Stop(t.Context()))
			assert.Equal(t, []string{"a", "b"}, got)
		})
	}
}

// A collector that is busy is asked again; one that refuses is not.
func TestRetry(t *testing.T) {
	t.Parallel()
	statuses := []int{http.StatusServiceUnavailable, http.StatusOK, http.StatusBadRequest}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(statuses[0])
		_, _ = io.WriteString(w, "no such field\n")
		statuses = statuses[1:]
	}))
	t.Cleanup(server.Close)
	c := otlp.New(otlp.Config{URL: server.URL})
	require.NoError(t, c.UploadTraces(t.Context(), spans("a")))
	assert.Len(t, statuses, 1, "sent twice")
	assert.ErrorContains(t, c.UploadTraces(t.Context(), spans("b")), "400 Bad Request: no such field")
	assert.Empty(t, statuses)

	statuses = []int{http.StatusTooManyRequests}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	assert.ErrorContains(t, c.UploadTraces(ctx, spans("c")), "429", "until the context ends")
}
