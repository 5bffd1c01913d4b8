package api

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/opentax/tally/internal/panics"
)

const (
	livezPath  = "/livez"
	readyzPath = "/readyz"
	// readyTimeout is the longest wait of /readyz. Then the service is not ready.
	readyTimeout = 3 * time.Second
)

type notReady struct {
	part     string
	cause    error
	optional bool // the service works without it
}

func (e *notReady) Error() string {
	if e.cause == nil {
		return e.part + " is not ready"
	}
	return e.part + " is not ready: " + e.cause.Error()
}

func (e *notReady) Unwrap() error { return e.cause }

// NotReady reports, as a result of Config.Ready, that a required part is unavailable. The part
// ("database", "migrations") is shown to clients and must not change between versions; the
// cause is only logged.
func NotReady(part string, cause error) error { return &notReady{part: part, cause: cause} }

// NotReadyBecause is [NotReady] with a cause that clients are shown.
func NotReadyBecause(part string, cause error) error {
	return &notReady{part: part, cause: &shownError{cause}}
}

// shownError is a cause that clients are shown.
type shownError struct{ error }

func (e *shownError) Unwrap() error { return e.error }

// Degraded is [NotReady] for an optional part.
func Degraded(part string, cause error) error {
	return &notReady{part: part, cause: cause, optional: true}
}

// Health is the response of a healthy service.
type Health struct {
	Status   string   `json:"status" enum:"alive,ready" doc:"alive: the process accepts requests; ready: the service is fully operational."`
	Degraded []string `json:"degraded,omitempty" nullable:"false" example:"[\"listener\"]" doc:"Optional parts that are unavailable. schedule: no worker has scheduled the day that has ended; listener: no notifications of commits are received, so summaries are not served from memory; primary: it is unavailable, and replicas answer reads; replicas: one is unavailable or behind."`
	Version  string   `json:"version,omitempty" example:"1.0.0" doc:"The program's version."`
}

type healthOutput struct {
	CacheControl string `header:"Cache-Control" hidden:"true"`
	Body         Health
}

func (s *service) livez(context.Context, *struct{}) (*healthOutput, error) {
	return &healthOutput{CacheControl: "no-store", Body: Health{Status: "alive", Version: s.Version}}, nil
}

func (s *service) readyz(ctx context.Context, _ *struct{}) (*healthOutput, error) {
	body := Health{Status: "ready"}
	_, err := s.ready.get(ctx)
	if _, panicked := errors.AsType[*panics.Panic](err); panicked {
		return nil, err
	}
	if errors.Is(err, errSlowLook) || errors.Is(err, context.DeadlineExceeded) {
		err = NotReady("database", err)
	}
	if err != nil {
		missing, degraded := missingParts(err)
		s.Logger.WarnContext(ctx, "not ready", "degraded", len(missing) == 0, "request_id", requestID(ctx), "error", err)
		if len(missing) > 0 {
			p := kindNotReady.problem()
			p.NotReady = missing
			if cause, ok := errors.AsType[*shownError](err); ok {
				p.Detail = strings.TrimSuffix(p.Detail, ".") + ": " + cause.Error() + "."
			}
			return nil, p
		}
		body.Degraded = degraded
	}
	return &healthOutput{CacheControl: "no-store", Body: body}, nil
}

// missingParts names the required and the optional parts in an error of Config.Ready, sorted,
// each once.
func missingParts(err error) (parts, degraded []string) {
	var visit func(error)
	visit = func(err error) {
		switch e := err.(type) { //nolint:errorlint // the tree is walked by hand
		case *notReady:
			if e.optional {
				degraded = append(degraded, e.part)
			} else {
				parts = append(parts, e.part)
			}
		case interface{ Unwrap() []error }:
			for _, child := range e.Unwrap() {
				visit(child)
			}
		case interface{ Unwrap() error }:
			visit(e.Unwrap())
		default:
			parts = append(parts, "service")
		}
	}
	visit(err)
	slices.Sort(parts)
	slices.Sort(degraded)
	return slices.Compact(parts), slices.Compact(degraded)
}
