// Package otlp sends spans to an OpenTelemetry collector, as protobuf over HTTP.
//
// A batch that the collector cannot take now (429, 502, 503, 504) is sent again, after its Retry-After if it names one, until
// the batch's context ends. Any other failure drops the batch with an error.
//
// OpenTelemetry's own client does the same, but imports the generated service of the collector, and with it gRPC and its
// gateway: a hundred packages that nothing here calls.
package otlp

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

const (
	minWait    = time.Second
	maxWait    = 30 * time.Second
	maxMessage = 4096 // bytes of a collector's answer that an error quotes
)

// Config is the collector's. URL is required.
type Config struct {
	URL     string // of the collector's traces, path included
	Headers map[string]string
	Timeout time.Duration // of one request; 0: none
	Gzip    bool
	TLS     *tls.Config
}

// Client implements [otlptrace.Client].
type Client struct {
	config Config
	http   *http.Client
}

var _ otlptrace.Client = (*Client)(nil)

// New makes a client. It connects when it has spans to send.
func New(c Config) *Client {
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: c.TLS, ForceAttemptHTTP2: true, IdleConnTimeout: 90 * time.Second,
	}
	return &Client{c, &http.Client{Transport: transport, Timeout: c.Timeout}}
}

// Start does nothing.
func (*Client) Start(context.Context) error { return nil }

// Stop closes the idle connections.
func (c *Client) Stop(context.Context) error {
	c.http.CloseIdleConnections()
	return nil
}

// UploadTraces sends a batch.
func (c *Client) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	body, err := c.encode(spans)
	if err != nil {
		return fmt.Errorf("encode spans: %w", err)
	}
	for wait := minWait; ; wait = min(2*wait, maxWait) {
		busy, after, err := c.send(ctx, body)
		if err == nil || !busy {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(max(wait, after)):
		}
	}
}

// encode relies on TracesData having the encoding of the collector's request.
func (c *Client) encode(spans []*tracepb.ResourceSpans) ([]byte, error) {
	body, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	if err != nil || !c.config.Gzip {
		return body, err
	}
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err = w.Write(body)
	err = errors.Join(err, w.Close())
	return out.Bytes(), err
}

// send reports whether a collector is busy, and how long.
func (c *Client) send(ctx context.Context, body []byte) (busy bool, after time.Duration, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.config.URL, bytes.NewReader(body))
	if err != nil {
		return false, 0, err
	}
	for name, value := range c.config.Headers {
		request.Header.Set(name, value)
	}
	request.Header.Set("Content-Type", "application/x-protobuf")
	if c.config.Gzip {
		request.Header.Set("Content-Encoding", "gzip")
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return false, 0, fmt.Errorf("send spans: %w", err)
	}
	defer answer.Body.Close() //nolint:errcheck // it was read as far as it matters
	message, _ := io.ReadAll(io.LimitReader(answer.Body, maxMessage))
	if answer.StatusCode < 300 {
		return false, 0, nil
	}
	switch answer.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		seconds, _ := strconv.Atoi(answer.Header.Get("Retry-After"))
		busy, after = true, time.Duration(seconds)*time.Second
	}
	return busy, after, fmt.Errorf("send spans: the collector answered %s: %s", answer.Status, bytes.TrimSpace(message))
}
