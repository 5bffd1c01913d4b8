package api

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"
)

const (
	requestIDHeader = "X-Request-Id"
	noRoute         = "none"
	anonymous       = "anonymous"
)

// requestKey is the context key of what the front knows of a request.
type requestKey struct{}

type request struct{ id, actor, origin string }

func requestOf(ctx context.Context) *request {
	if known, ok := ctx.Value(requestKey{}).(*request); ok {
		return known
	}
	return &request{actor: anonymous}
}

func requestID(ctx context.Context) string { return requestOf(ctx).id }

// Actor is who sent the request of a context, for the audit trail: "token:NAME", or
// "anonymous" where nobody had to say.
func Actor(ctx context.Context) string { return requestOf(ctx).actor }

// origin is the network address that the request of a context came from.
func origin(ctx context.Context) string { return requestOf(ctx).origin }

// front stands before the router: it gives each request an id of our own (a
// client's would let it write into problems and the log), lets in who may come in,
// logs it, turns a panic into a problem, and puts problems in place of the router's
// plain-text errors.
type middleware struct {
	next     http.Handler // the router, in the end
	mounts   map[string]http.Handler
	access   *Access // nil lets everyone in
	logger   *slog.Logger
	log      *slog.Logger
	metrics  *metrics
	tracer   trace.Tracer // nil makes no spans
	security securityHeaders
}

func newMiddleware(mux *http.ServeMux, c Config, logger *slog.Logger) (*middleware, error) {
	m := newMetrics(c.Figures, c.Version)
	mux.Handle("GET "+metricsPath, m.handler())
	next, err := compressed(mux)
	if err != nil {
		return nil, err
	}
	if c.AccessLog == nil {
		c.AccessLog = logger
	}
	f := &middleware{
		next: next, mounts: c.Mounts, access: c.Access, logger: logger,
		log: c.AccessLog, metrics: m, security: newSecurityHeaders(),
	}
	if c.Tracer != nil {
		f.tracer = c.Tracer.Tracer(tracerName)
	}
	return f, nil
}

func (f *middleware) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	known := &request{id: rand.Text(), actor: anonymous, origin: r.RemoteAddr}
	ctx := context.WithValue(r.Context(), requestKey{}, known)
	if f.tracer != nil && !probe(r.URL.Path) {
		ctx = f.startSpan(ctx, r)
	}
	r = r.WithContext(ctx)
	answer := &response{ResponseWriter: w, request: r, middleware: f, known: known}
	w.Header().Set(requestIDHeader, known.id)
	f.security.set(w.Header(), r.TLS != nil)
	defer f.end(answer, start)
	defer f.recoverPanic(answer)
	if p := f.precheck(answer, r); p != nil {
		answer.writeProblem(p)
		return
	}
	f.next.ServeHTTP(answer, r)
}

// end notes how a request was answered.
func (f *middleware) end(w *response, start time.Time) {
	o := outcome{w.request.Method, w.route(), w.status}
	if o.status == 0 {
		o.status = http.StatusOK
	}
	took := time.Since(start)
	f.metrics.observe(o, took)
	logRequest(f.log, w, o, took)
	if f.tracer != nil && !probe(o.route) {
		endSpan(w, o)
	}
}

func probe(route string) bool { return route == livezPath || route == readyzPath }

// precheck is why a request is not passed on, nil where it is.
func (f *middleware) precheck(answer *response, r *http.Request) *Problem {
	if p := oversized(r); p != nil {
		return p
	}
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = http.MaxBytesReader(answer.ResponseWriter, r.Body, maxBodyBytes)
	}
	if f.access == nil {
		return nil
	}
	var p *Problem
	answer.known.actor, p = f.access.admit(r)
	return p
}

// recoverPanic answers for a handler that panicked. Where the answer has begun it can
// only be cut off, so that the client does not take it for whole.
func (f *middleware) recoverPanic(w *response) {
	cause := recover()
	if cause == nil {
		return
	}
	if cause == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so
		panic(cause)
	}
	f.logger.LogAttrs(w.request.Context(), slog.LevelError, "request panicked",
		slog.String("request_id", w.known.id), slog.String("route", w.route()),
		slog.String("panic", fmt.Sprint(cause)), slog.String("stack", string(debug.Stack())))
	if w.status != 0 {
		panic(http.ErrAbortHandler)
	}
	w.writeProblem(kindInternal.problem())
}

// response counts what is answered, and replaces error bodies that are no
// problems by ones that are, except those of mounted handlers.
type response struct {
	http.ResponseWriter
	request    *http.Request // the router writes the matched pattern into it
	middleware *middleware
	known      *request
	status     int
	bytes      int64
	replace    bool // the handler's body is dropped
}

// route is the pattern that matched, without its method.
func (w *response) route() string {
	pattern := w.request.Pattern
	if _, path, ok := strings.Cut(pattern, " "); ok {
		return path
	}
	if pattern == "" {
		return noRoute
	}
	return pattern
}

func (w *response) mounted() bool {
	_, ok := w.middleware.mounts[w.request.Pattern]
	return ok
}

func (w *response) WriteHeader(status int) {
	if w.status != 0 {
		return
	}
	if status < http.StatusOK { // informational: the answer is still to come
		w.ResponseWriter.WriteHeader(status)
		return
	}
	if w.mounted() {
		w.middleware.security.mounted(w.Header())
		w.status = status
		w.ResponseWriter.WriteHeader(status)
		return
	}
	if status >= http.StatusBadRequest && w.Header().Get("Content-Type") != problemContentType {
		w.writeProblem(ofStatus(status))
		w.replace = true
		return
	}
	w.status = status
	if strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
		w.middleware.security.page(w.Header())
	}
	if status >= http.StatusBadRequest {
		w.Header().Set("Cache-Control", "no-store") // a 404 would be cacheable without it
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) writeProblem(p *Problem) { p.withRequestID(w.known.id).write(w) }

func (w *response) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.replace {
		return len(b), nil
	}
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

// Flush lets mounted handlers stream.
func (w *response) Flush() {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if flusher, ok := w.ResponseWriter.(http.Flusher); ok {
		flusher.Flush()
	}
}

// Unwrap lets [http.ResponseController] reach the connection.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }
