package api

import (
	"log/slog"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// outcome is what became of a request.
type outcome struct {
	method, route string
	status        int
}

// usual reports whether the method is none that a client made up.
func (o outcome) standardMethod() bool {
	switch o.method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return true
	}
	return false
}

// logRequest writes the line of an answer. It names the route and not the path, which
// holds the ids of people.
func logRequest(logger *slog.Logger, w *response, o outcome, took time.Duration) {
	level := slog.LevelInfo
	if probe(o.route) {
		level = slog.LevelDebug
	}
	ctx := w.request.Context()
	attrs := []slog.Attr{
		slog.String("method", o.method), slog.String("route", o.route), slog.Int("status", o.status),
		slog.String("request_id", w.known.id), slog.String("actor", w.known.actor), slog.Int64("bytes", w.bytes), slog.Duration("duration", took),
	}
	if span := trace.SpanContextFromContext(ctx); span.HasTraceID() {
		attrs = append(attrs, slog.String("trace_id", span.TraceID().String()))
	}
	logger.LogAttrs(ctx, level, "request", attrs...)
}
