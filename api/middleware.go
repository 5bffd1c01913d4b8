package api

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzhttp"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/opentax/tally/internal/replica"
)

const (
	requestIDHeader = "X-Request-Id"
	noRoute         = "none"
	anonymous       = "anonymous"
	tracerName      = "github.com/opentax/tally/api"
	minCompressed   = 1400 // bytes of a response, about one packet
)

type requestKey struct{}

type request struct {
	id, actor, origin string
	operator          bool             // may make changes
	reads             *replica.Request // nil without replicas
}

func requestOf(ctx context.Context) *request {
	if known, ok := ctx.Value(requestKey{}).(*request); ok {
		return known
	}
	return &request{actor: anonymous}
}

func requestID(ctx context.Context) string { return requestOf(ctx).id }

// Actor returns the sender of a context's request for the audit trail: "token:NAME", or
// "anonymous" for an unauthenticated request.
func Actor(ctx context.Context) string { return requestOf(ctx).actor }

// middleware runs before the router. It gives each request an id of our own (a client's could
// forge log lines), authorizes, traces and logs it, turns a panic into a problem, and replaces
// the router's plain-text errors with problems.
type middleware struct {
	*service
	next    http.Handler
	metrics *metrics
	tracer  trace.Tracer // nil disables tracing
	lines   sync.Map     // slog.Handler by outcome
}

func newMiddleware(mux *http.ServeMux, s *service) (*middleware, error) {
	next, err := compressed(mux)
	m := &middleware{service: s, next: next, metrics: newMetrics(s.Figures, s.Version)}
	mux.Handle("GET "+metricsPath, promhttp.HandlerFor(m.metrics.registry, promhttp.HandlerOpts{DisableCompression: true}))
	if s.Tracer != nil {
		m.tracer = s.Tracer.Tracer(tracerName)
	}
	return m, err
}

// compressed compresses large responses for clients that accept it. A summary is never large,
// and skips the check. Compressed responses have no entity tag: it would be that of the
// uncompressed bytes.
func compressed(next http.Handler) (http.Handler, error) {
	wrap, err := gzhttp.NewWrapper(gzhttp.MinSize(minCompressed), gzhttp.DropETag(), gzhttp.EnableZstd(false))
	if err != nil {
		return nil, fmt.Errorf("set up compression: %w", err)
	}
	compress := wrap(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/summary") {
			next.ServeHTTP(w, r)
			return
		}
		compress(w, r)
	}), nil
}

func (m *middleware) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	known := &request{id: rand.Text(), actor: anonymous, origin: r.RemoteAddr, operator: m.Access == nil}
	ctx := context.WithValue(r.Context(), requestKey{}, known)
	if m.tracer != nil && !probe(r.URL.Path) {
		// Not otelhttp: it records the path, which has the ids of people.
		ctx = propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(r.Header))
		ctx, _ = m.tracer.Start(ctx, r.Method, trace.WithSpanKind(trace.SpanKindServer))
	}
	r = r.WithContext(ctx)
	answer := &response{ResponseWriter: w, request: r, middleware: m, known: known}
	w.Header().Set(requestIDHeader, known.id)
	setSecurityHeaders(w.Header())
	defer m.end(answer, start)
	defer m.recoverPanic(answer)
	if p := m.precheck(answer, r); p != nil {
		answer.writeProblem(p)
		return
	}
	if answer.known.reads != nil {
		r = r.WithContext(replica.With(r.Context(), answer.known.reads))
		answer.request = r
	}
	m.next.ServeHTTP(answer, r)
}

func probe(route string) bool { return route == livezPath || route == readyzPath }

// precheck returns the problem of a request that does not reach the router, otherwise nil.
func (m *middleware) precheck(answer *response, r *http.Request) (p *Problem) {
	limit := max(maxBodyBytes, m.Console.MaxBody(r))
	if p := oversized(r, limit); p != nil {
		return p
	}
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = http.MaxBytesReader(answer.ResponseWriter, r.Body, limit)
	}
	if m.Access != nil {
		answer.known.actor, answer.known.operator, p = m.Access.admit(r)
	}
	if p == nil {
		answer.known.reads, p = m.requestOfReads(r)
	}
	return p
}

// recoverPanic answers for a handler that panicked. If the response has begun, it aborts the
// connection, so that the client does not take the response as complete.
func (m *middleware) recoverPanic(w *response) {
	cause := recover()
	if cause == nil {
		return
	}
	if cause == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so
		panic(cause)
	}
	m.Logger.ErrorContext(w.request.Context(), "request panicked", "request_id", w.known.id, "route", w.route(),
		"panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
	if w.status != 0 {
		panic(http.ErrAbortHandler)
	}
	w.writeProblem(kindInternal.problem())
}

type outcome struct {
	method, route string
	status        int
}

// standardMethod reports whether the method is one of HTTP's, not made up by the client.
func (o outcome) standardMethod() bool {
	return slices.Contains([]string{
		http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions,
	}, o.method)
}

func (m *middleware) end(w *response, start time.Time) {
	o := outcome{w.request.Method, w.route(), w.status}
	if o.status == 0 {
		o.status = http.StatusOK
	}
	took := time.Since(start)
	m.metrics.observe(o, took)
	m.log(w, o, took)
	if m.tracer != nil && !probe(o.route) {
		endSpan(w, o)
	}
}

// log writes the line of a request. It has the route, not the path, which has the ids of people.
func (m *middleware) log(w *response, o outcome, took time.Duration) {
	level := slog.LevelInfo
	if probe(o.route) {
		level = slog.LevelDebug
	}
	ctx := w.request.Context()
	if !m.AccessLog.Enabled(ctx, level) {
		return
	}
	line := slog.NewRecord(time.Now(), level, "request", 0) // LogAttrs would look up the place in the source
	line.AddAttrs(slog.String("request_id", w.known.id), slog.String("actor", w.known.actor), slog.Int64("bytes", w.bytes), slog.Duration("duration", took))
	if span := trace.SpanContextFromContext(ctx); span.HasTraceID() {
		line.AddAttrs(slog.String("trace_id", span.TraceID().String()))
	}
	_ = m.lineHandler(o).Handle(ctx, line) // as LogAttrs, there is no one to tell
}

// lineHandler returns the handler of an outcome's lines, in which their common attributes are
// formatted already. Routes are the program's own, but methods are the client's, so only the
// handlers of standard methods are kept.
func (m *middleware) lineHandler(o outcome) slog.Handler {
	if kept, ok := m.lines.Load(o); ok {
		return kept.(slog.Handler) //nolint:forcetypeassert // nothing else is stored
	}
	handler := m.AccessLog.Handler().WithAttrs([]slog.Attr{
		slog.String("method", o.method), slog.String("route", o.route), slog.Int("status", o.status),
	})
	if o.standardMethod() {
		m.lines.Store(o, handler)
	}
	return handler
}

// endSpan sets the attributes of OpenTelemetry's semantic conventions for HTTP servers.
func endSpan(w *response, o outcome) {
	span := trace.SpanFromContext(w.request.Context())
	span.SetName(o.method + " " + o.route)
	span.SetAttributes(attribute.String("http.request.method", o.method), attribute.String("http.route", o.route),
		attribute.Int("http.response.status_code", o.status), attribute.String("tally.request_id", w.known.id))
	if o.status >= http.StatusInternalServerError {
		span.SetStatus(codes.Error, http.StatusText(o.status))
	}
	span.End()
}

// response counts the bytes of a response, and replaces error bodies with problems, except
// those of mounted handlers.
type response struct {
	http.ResponseWriter
	request    *http.Request // the router sets its Pattern
	middleware *middleware
	known      *request
	status     int
	bytes      int64
	replace    bool // drop the handler's body
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

func (w *response) WriteHeader(status int) {
	if w.status != 0 {
		return
	}
	if status < http.StatusOK { // informational: the response follows
		w.ResponseWriter.WriteHeader(status)
		return
	}
	header := w.Header()
	setSource(header, w.known.reads)
	if _, mounted := w.middleware.Mounts[w.request.Pattern]; mounted {
		setMountHeaders(header)
	} else if status >= http.StatusBadRequest && !w.pageOfError() {
		if header.Get("Content-Type") != problemContentType {
			w.writeProblem(ofStatus(status))
			w.replace = true
			return
		}
		header.Set("Cache-Control", "no-store") // a 404 would be cacheable without it
	} else if strings.HasPrefix(header.Get("Content-Type"), "text/html") {
		setPageHeaders(header)
	}
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// pageOfError reports whether the body is a page of the console, which says what is wrong.
func (w *response) pageOfError() bool {
	return w.middleware.onPage(w.request) && strings.HasPrefix(w.Header().Get("Content-Type"), "text/html")
}

func (w *response) writeProblem(p *Problem) {
	p = p.withRequestID(w.known.id)
	if w.middleware.onPage(w.request) {
		maps.Copy(w.Header(), p.header)
		w.middleware.pages.WriteProblem(w, p.page())
		return
	}
	p.write(w)
}

func (w *response) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.replace {
		return len(b), nil
	}
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

// Flush lets mounted handlers stream.
func (w *response) Flush() {
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w.ResponseWriter).Flush() // as far as the connection can
}

// Unwrap lets [http.ResponseController] reach the connection.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }
