package api

import (
	"context"
	"log/slog"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"
)

const (
	livezPath  = "/livez"
	readyzPath = "/readyz"
	// unnamedPart stands for what is missing where Config.Ready did not say.
	unnamedPart = "service"
)

// notReady is the error of [NotReady].
type notReady struct {
	part  string
	cause error
	works bool // the service does its work all the same
}

func (e *notReady) Error() string {
	if e.cause == nil {
		return e.part + " is not ready"
	}
	return e.part + " is not ready: " + e.cause.Error()
}

func (e *notReady) Unwrap() error { return e.cause }

// NotReady says that a part of the service is not ready, for Config.Ready to
// return. The part ("database", "migrations") is shown to clients and is to stay
// the same between versions; the cause is only logged.
func NotReady(part string, cause error) error { return &notReady{part: part, cause: cause} }

// Degraded says that a part of the service is missing, and that the service does its
// work without it. Else it is as [NotReady].
func Degraded(part string, cause error) error {
	return &notReady{part: part, cause: cause, works: true}
}

// Health is the answer of a service that is well.
type Health struct {
	Status   string   `json:"status" enum:"alive,ready" doc:"alive: the process accepts requests; ready: the service is fully operational."`
	Degraded []string `json:"degraded,omitempty" nullable:"false" example:"[\"listener\"]" doc:"Optional parts that are unavailable. schedule: no worker has scheduled the day that has ended; listener: no notifications of commits are received, so summaries are not served from memory."`
	Version  string   `json:"version,omitempty" example:"1.0.0" doc:"The program's version."`
}

type healthOutput struct {
	CacheControl string `header:"Cache-Control" hidden:"true"`
	Body         Health
}

func (s *service) registerHealth(operations huma.API) {
	huma.Register(operations, huma.Operation{
		OperationID: "getLiveness",
		Method:      http.MethodGet,
		Path:        livezPath,
		Tags:        []string{tagHealth},
		Summary:     "Check liveness",
		Description: "Answers 200 while the process accepts requests, whatever else is unavailable. For a liveness probe.",
		Responses:   responses(success("The process accepts requests.", nil)),
	}, withProblems(s, s.livez))
	huma.Register(operations, huma.Operation{
		OperationID: "getReadiness",
		Method:      http.MethodGet,
		Path:        readyzPath,
		Tags:        []string{tagHealth},
		Summary:     "Check readiness",
		Description: "Answers 200 if all required parts are available, otherwise a problem whose not_ready lists the missing ones: database or migrations. degraded lists optional parts that are unavailable. For a readiness probe.",
		Responses:   responses(success("The service is ready.", nil), notReadyResponse),
	}, withProblems(s, s.readyz))
}

func (s *service) livez(context.Context, *struct{}) (*healthOutput, error) {
	return &healthOutput{CacheControl: "no-store", Body: Health{Status: "alive", Version: s.version}}, nil
}

func (s *service) readyz(ctx context.Context, _ *struct{}) (*healthOutput, error) {
	body := Health{Status: "ready"}
	if err := s.ready(ctx); err != nil {
		missing, degraded := missingParts(err)
		s.logger.LogAttrs(ctx, slog.LevelWarn, "not ready", slog.Bool("degraded", len(missing) == 0),
			slog.String("request_id", requestID(ctx)), slog.Any("error", err))
		if len(missing) > 0 {
			p := kindNotReady.problem()
			p.NotReady = missing
			return nil, p
		}
		body.Degraded = degraded
	}
	return &healthOutput{CacheControl: "no-store", Body: body}, nil
}

// missingParts names the parts in an error of Config.Ready, those without which the
// service does not work and those without which it does, sorted, each once.
func missingParts(err error) (parts, degraded []string) {
	var visit func(error)
	visit = func(err error) {
		if missing, ok := err.(*notReady); ok { //nolint:errorlint // the tree is walked by hand
			if missing.works {
				degraded = append(degraded, missing.part)
			} else {
				parts = append(parts, missing.part)
			}
			return
		}
		switch e := err.(type) { //nolint:errorlint // the tree is walked by hand
		case interface{ Unwrap() []error }:
			for _, child := range e.Unwrap() {
				visit(child)
			}
		case interface{ Unwrap() error }:
			visit(e.Unwrap())
		default:
			parts = append(parts, unnamedPart)
		}
	}
	visit(err)
	slices.Sort(parts)
	slices.Sort(degraded)
	return slices.Compact(parts), slices.Compact(degraded)
}
