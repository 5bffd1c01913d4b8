package api

import (
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// accessLog writes a line for each request. It keeps a handler for each outcome that
// comes often, in which what all its lines have in common is formatted already.
type accessLog struct {
	logger   *slog.Logger
	outcomes sync.Map // outcome: slog.Handler
}

// outcome is what lines have in common. There are not many, as routes are the
// program's own; methods are the client's, so only some of them are kept.
type outcome struct {
	method, route string
	status        int
}

func (l *accessLog) handler(o outcome) slog.Handler {
	if kept, ok := l.outcomes.Load(o); ok {
		return kept.(slog.Handler) //nolint:forcetypeassert // nothing else is stored
	}
	handler := l.logger.Handler().WithAttrs([]slog.Attr{
		slog.String("method", o.method), slog.String("route", o.route), slog.Int("status", o.status),
	})
	switch o.method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete:
		l.outcomes.Store(o, handler)
	}
	return handler
}

// write writes the line of an answer. It names the route and not the path, which holds
// the ids of people.
func (l *accessLog) write(w *response, start time.Time) {
	level := slog.LevelInfo
	route := w.route()
	if route == livezPath || route == readyzPath {
		level = slog.LevelDebug
	}
	ctx := w.request.Context()
	if !l.logger.Enabled(ctx, level) {
		return
	}
	status := w.status
	if status == 0 {
		status = http.StatusOK
	}
	now := time.Now()
	line := slog.NewRecord(now, level, "request", 0) // without a place in the source, which LogAttrs would look for
	line.AddAttrs(slog.String("request_id", w.known.id), slog.String("actor", w.known.actor), slog.Int64("bytes", w.bytes), slog.Duration("duration", now.Sub(start)))
	_ = l.handler(outcome{w.request.Method, route, status}).Handle(ctx, line) // nobody can be told, as in LogAttrs
}
