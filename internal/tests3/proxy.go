package tests3

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"

	"github.com/opentax/tally/internal/bucket"
)

// Fault is the fault of one response. The zero value is no fault.
type Fault struct {
	Status int   // respond with this status, if not 0
	Breaks bool  // close the connection within the body
	Hangs  bool  // stall within the body until the client disconnects
	After  int64 // bytes of the body before the fault
}

// Proxy forwards requests to a server and injects faults.
type Proxy struct {
	tb     testing.TB
	server *httptest.Server
}

// Proxy starts a proxy that calls fault for each request. The function must be safe for
// concurrent use.
func (s *Server) Proxy(fault func(*http.Request) Fault) *Proxy {
	s.tb.Helper()
	target, err := url.Parse(s.Endpoint())
	if err != nil {
		s.tb.Fatalf("proxy: %v", err)
	}
	pass := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // the signature covers it
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	p := &Proxy{s.tb, httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f := fault(r)
		if f.Status != 0 {
			w.WriteHeader(f.Status)
			return
		}
		if f.Breaks || f.Hangs {
			c := &cut{ResponseWriter: w, left: f.After}
			if f.Hangs {
				c.until = r.Context().Done()
			}
			w = c
		}
		pass.ServeHTTP(w, r)
	}))}
	s.tb.Cleanup(p.server.Close)
	return p
}

// URL returns the URL of an object or prefix in the bucket through the proxy.
func (p *Proxy) URL(key string) string { return urlAt(p.server.URL, key) }

// At returns URL as a location.
func (p *Proxy) At(key string) bucket.Location { return parsed(p.tb, p.URL(key)) }

// cut is a response whose body ends early.
type cut struct {
	http.ResponseWriter
	left  int64
	until <-chan struct{} // nil: no delay
}

func (c *cut) Write(b []byte) (int, error) {
	if int64(len(b)) < c.left {
		c.left -= int64(len(b))
		return c.ResponseWriter.Write(b)
	}
	_, _ = c.ResponseWriter.Write(b[:c.left])                // the connection is closed next
	_ = http.NewResponseController(c.ResponseWriter).Flush() // so that the client receives the bytes before the fault
	if c.until != nil {
		<-c.until
	}
	panic(http.ErrAbortHandler)
}
