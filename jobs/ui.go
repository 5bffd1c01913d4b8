package jobs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"riverqueue.com/riverui"

	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/jobs/ledger"
)

const (
	uiBodyLimit = 64 << 10 // of a change, which has ids of jobs
	uiTimeout   = 10 * time.Second
)

// UI is River UI, to be mounted at prefix (such as "/riverui/"), until Stop. A change (any
// method but GET, HEAD and OPTIONS) is rejected with 403 when a browser sends it from
// another site, and is written to the audit trail before it is carried out; if that
// fails, it is rejected with 503. UI does not authenticate; its caller does.
func (s *Service) UI(prefix string) (http.Handler, error) {
	handler, err := riverui.NewHandler(&riverui.HandlerOpts{
		Endpoints: riverui.NewEndpoints(s.river, nil),
		Logger:    s.logger,
		Prefix:    prefix,
	})
	if err != nil {
		return nil, fmt.Errorf("make River UI: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errStopped
	}
	ctx, cancel := context.WithCancel(context.Background())
	if err := handler.Start(ctx); err != nil {
		cancel()
		return nil, fmt.Errorf("start River UI: %w", err)
	}
	s.halt = append(s.halt, cancel)
	return http.NewCrossOriginProtection().Handler(s.bounded(s.audited(handler))), nil
}

// bounded bounds the time of a request, which includes the wait for a connection: the pages ask
// again every few seconds, and would pile up while the database hangs.
func (s *Service) bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), uiTimeout)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// audited records changes before next carries them out.
func (s *Service) audited(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodGet, http.MethodHead, http.MethodOptions:
			next.ServeHTTP(w, r)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, uiBodyLimit))
		if err != nil {
			status := http.StatusBadRequest
			if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
				status = http.StatusRequestEntityTooLarge
			}
			http.Error(w, http.StatusText(status), status)
			return
		}
		if err := s.recordChange(r, body); err != nil {
			s.logger.ErrorContext(r.Context(), "change through River UI rejected", "error", err)
			http.Error(w, "the audit trail cannot be written", http.StatusServiceUnavailable)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, r)
	})
}

func (s *Service) recordChange(r *http.Request, body []byte) error {
	detail := map[string]any{"method": r.Method, "path": r.URL.Path, "user_agent": r.UserAgent()}
	if json.Valid(body) {
		detail["body"] = json.RawMessage(body)
	} else if len(body) > 0 {
		detail["body"] = postgres.Text(string(body))
	}
	return ledger.Record(r.Context(), s.pool, ledger.Event{
		Actor: s.config.Actor(r), Action: ledger.ActionQueueChange, Subject: r.Method + " " + r.URL.Path, Origin: r.RemoteAddr, Detail: detail,
	})
}
