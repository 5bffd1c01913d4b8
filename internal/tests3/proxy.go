package tests3

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"

	"github.com/opentax/tally/internal/bucket"
)

// Fault is what goes wrong with one answer; the zero value is nothing.
type Fault struct {
	Status int   // is answered instead, if not 0
	Breaks bool  // the connection breaks within the body
	Hangs  bool  // the body stands still instead, until the client has gone
	After  int64 // so many bytes of it
}

// Proxy stands before a server.
type Proxy struct {
	tb     testing.TB
	server *httptest.Server
}

// Proxy starts a proxy that asks fault about each request, also from several
// goroutines at once.
func (s *Server) Proxy(fault func(*http.Request) Fault) *Proxy {
	s.tb.Helper()
	target, err := url.Parse(s.Endpoint())
	if err != nil {
		s.tb.Fatalf("proxy: %v", err)
	}
	pass := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // it is signed
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

// URL is that of an object or folder in the bucket, by way of the proxy.
func (p *Proxy) URL(key string) string { return urlAt(p.server.URL, key) }

// At is URL as a location.
func (p *Proxy) At(key string) bucket.Location { return parsed(p.tb, p.URL(key)) }

// cut is an answer that ends early.
type cut struct {
	http.ResponseWriter
	left  int64
	until <-chan struct{} // nil: at once
}

func (c *cut) Write(b []byte) (int, error) {
	if int64(len(b)) < c.left {
		c.left -= int64(len(b))
		return c.ResponseWriter.Write(b)
	}
	_, _ = c.ResponseWriter.Write(b[:c.left])                // it ends here anyway
	_ = http.NewResponseController(c.ResponseWriter).Flush() // so that what came before arrives
	if c.until != nil {
		<-c.until
	}
	panic(http.ErrAbortHandler)
}
