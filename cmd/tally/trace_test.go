package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	v1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/opentax/tally/internal/testdb"
)

// collector takes spans as OTLP sends them over HTTP.
type collector struct {
	mu    sync.Mutex
	spans []span
}

type span struct{ name, id, parent, trace, statement string }

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var request v1.ExportTraceServiceRequest
	if err != nil || proto.Unmarshal(body, &request) != nil {
		http.Error(w, "no spans", http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range request.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			for _, s := range scope.Spans {
				got := span{name: s.Name, id: string(s.SpanId), parent: string(s.ParentSpanId), trace: string(s.TraceId)}
				for _, a := range s.Attributes {
					if strings.HasPrefix(a.Key, "db.") {
						got.statement += a.Value.GetStringValue() + "\n"
					}
				}
				c.spans = append(c.spans, got)
			}
		}
	}
}

// find is the span of a name below another one, or of no trace that is known.
func (c *collector) find(name string, below *span) *span {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.spans {
		if s.name == name && (below == nil || s.trace == below.trace) {
			return &s
		}
	}
	return nil
}

// A request, the job that it queues, the attempt at it and the statements of all are
// in one trace.
func TestTracesAcrossRequestStatementAndJob(t *testing.T) {
	t.Parallel()
	var c collector
	server := httptest.NewServer(&c)
	t.Cleanup(server.Close)
	p := newProgram(t)
	p.env = append(p.env, "OTEL_EXPORTER_OTLP_ENDPOINT="+server.URL, "OTEL_BSP_SCHEDULE_DELAY=100")
	address := freeAddress(t)
	up, stderr := p.start("up", "--listen", address)
	require.Eventually(t, func() bool {
		answer, err := http.Get("http://" + address + "/readyz")
		return err == nil && answer.Body.Close() == nil && answer.StatusCode == http.StatusOK
	}, testdb.Patience, 20*time.Millisecond, stderr)
	answer, err := http.Post("http://"+address+"/runs", "application/json", nil)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Less(t, answer.StatusCode, 300)
	var request *span
	require.Eventually(t, func() bool {
		request = c.find("POST /runs", nil)
		return request != nil && c.find("send etl", request) != nil && c.find("process etl_run", request) != nil
	}, testdb.Patience, 50*time.Millisecond)
	assert.Equal(t, request.id, c.find("send etl", request).parent)
	assert.Equal(t, c.find("send etl", request).id, c.find("process etl_run", request).parent)
	c.mu.Lock()
	statements := 0
	for _, s := range c.spans {
		if s.trace == request.trace && strings.Contains(s.statement, "SELECT") {
			statements++
		}
	}
	c.mu.Unlock()
	assert.Positive(t, statements, "no statement has a span")
	require.NoError(t, up.Process.Signal(syscall.SIGTERM))
	require.NoError(t, up.Wait(), stderr)
}

func TestOTLPVariables(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318/base")
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b, tenant=7")
	c, err := otlpConfig()
	require.NoError(t, err)
	assert.Equal(t, "https://collector:4318/base/v1/traces", c.URL)
	assert.Equal(t, map[string]string{"api-key": "a b", "tenant": "7"}, c.Headers)
	assert.Equal(t, 10*time.Second, c.Timeout)
	assert.False(t, c.Gzip)

	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://elsewhere/spans")
	t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "2500")
	t.Setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
	c, err = otlpConfig()
	require.NoError(t, err)
	assert.Equal(t, "http://elsewhere/spans", c.URL, "that of traces as it is")
	assert.Equal(t, 2500*time.Millisecond, c.Timeout)
	assert.True(t, c.Gzip)
	for name, value := range map[string]string{
		"TRACES_ENDPOINT": "collector:4317", "HEADERS": "secret", "TRACES_TIMEOUT": "10s", "COMPRESSION": "zstd", "CERTIFICATE": "/nowhere.pem",
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("OTEL_EXPORTER_OTLP_"+name, value)
			_, err := otlpConfig()
			assert.ErrorContains(t, err, "OTEL_EXPORTER_OTLP_"+name+": ")
			assert.NotContains(t, err.Error(), "secret", "a header may be a password")
		})
	}
}
