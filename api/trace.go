package api

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

const tracerName = "github.com/opentax/tally/api"

// startSpan starts a request's span. Spans are made here and not by otelhttp, which notes
// the path: that holds the ids of people. The attributes are those of OpenTelemetry's
// semantic conventions for HTTP servers.
func (f *middleware) startSpan(ctx context.Context, r *http.Request) context.Context {
	ctx = propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(r.Header))
	ctx, _ = f.tracer.Start(ctx, r.Method, trace.WithSpanKind(trace.SpanKindServer))
	return ctx
}

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
