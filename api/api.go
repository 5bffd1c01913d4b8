package api

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"go.opentelemetry.io/otel/trace"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/jobs/ledger"
)

const defaultRequestTimeout = 10 * time.Second

// Config is what the API serves. Summaries, Runs and Request are required; the zero value
// of the rest works.
type Config struct {
	Summaries Summaries
	Runs      RunReader
	// Request enters the run of a logical date, nil for the day that has just ended, and
	// gives it to the queue; by and origin are for the audit trail. Of a date that has a
	// run it returns that one, not marked as created. [ledger.ErrNotEnded] refuses a date
	// that has not ended. jobs.Service has one.
	Request func(ctx context.Context, date *civil.Date, by, origin string) (ledger.Run, error)
	// Ready reports whether the service can do its work; nil means always. It names
	// what is missing with [NotReady], joined where there are several; any other
	// error counts as the part "service".
	Ready func(ctx context.Context) error
	// Version is the program's, shown by /livez. The version in the API's
	// description is the API's own.
	Version string
	// Logger gets the causes that problems keep to themselves; nil discards them.
	Logger *slog.Logger
	// AccessLog gets one line a request; nil means Logger. It is one of its own so that
	// these lines, which are many, can be buffered where the others must not wait.
	AccessLog *slog.Logger
	// Mounts are handlers for whole subtrees, by prefix ("/riverui/"). Their
	// answers are passed on as they are, with security headers that suit a page
	// of scripts and styles of its own, and they have no deadline.
	Mounts map[string]http.Handler
	// Figures are what /metrics shows besides the requests.
	Figures Figures
	// Tracer makes a span of each request but probes, in the trace that its traceparent
	// names; nil means none.
	Tracer trace.TracerProvider
	// Access decides who may do what; nil lets everyone do everything.
	Access *Access
	// RequestTimeout bounds one operation; 0 means 10 seconds.
	RequestTimeout time.Duration
}

// check names the field that is wrong.
func (c Config) check() error {
	if c.Summaries == nil {
		return fmt.Errorf("api: Config.Summaries is missing")
	}
	if c.Runs == nil {
		return fmt.Errorf("api: Config.Runs is missing")
	}
	if c.Request == nil {
		return fmt.Errorf("api: Config.Request is missing")
	}
	if c.RequestTimeout < 0 {
		return fmt.Errorf("api: Config.RequestTimeout is negative")
	}
	for prefix, handler := range c.Mounts {
		if len(prefix) < 3 || !strings.HasPrefix(prefix, "/") || !strings.HasSuffix(prefix, "/") {
			return fmt.Errorf("api: Config.Mounts: prefix %q is not of the form /name/", prefix)
		}
		if handler == nil {
			return fmt.Errorf("api: Config.Mounts: %s has no handler", prefix)
		}
	}
	return nil
}

// service is the operations and what they read.
type service struct {
	summaries Summaries
	runs      RunReader
	request   func(ctx context.Context, date *civil.Date, by, origin string) (ledger.Run, error)
	ready     func(context.Context) error
	version   string
	logger    *slog.Logger
	timeout   time.Duration
}

func newService(c Config) *service {
	s := &service{
		summaries: c.Summaries,
		runs:      c.Runs,
		request:   c.Request,
		ready:     c.Ready,
		version:   c.Version,
		logger:    c.Logger,
		timeout:   c.RequestTimeout,
	}
	if s.ready == nil {
		s.ready = func(context.Context) error { return nil }
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	if s.timeout == 0 {
		s.timeout = defaultRequestTimeout
	}
	return s
}

// New builds the handler of the whole API. It holds no resources of its own.
func New(c Config) (http.Handler, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	s := newService(c)
	mux := http.NewServeMux()
	operations := humago.New(fastPath{mux, s}, humaConfig())
	s.register(operations)

	if err := mountDocument(mux, operations.OpenAPI()); err != nil {
		return nil, err
	}
	if err := mountPages(mux); err != nil {
		return nil, err
	}
	mux.Handle("GET /{$}", http.RedirectHandler(docsPath, http.StatusSeeOther))
	for _, prefix := range slices.Sorted(maps.Keys(c.Mounts)) {
		mux.Handle(prefix, c.Mounts[prefix])
	}
	return newMiddleware(mux, c, s.logger)
}

// register puts every operation on an API of huma's, humatest's included. The
// middleware has to be there first: huma binds it when an operation is added.
func (s *service) register(operations huma.API) {
	operations.UseMiddleware(s.guard)
	addMetadata(operations.OpenAPI())
	s.registerSummary(operations)
	s.registerSummaries(operations)
	s.registerTop(operations)
	s.registerTransactions(operations)
	s.registerTotals(operations)
	s.registerRuns(operations)
	s.registerRunRequest(operations)
	s.registerFiles(operations)
	s.registerRejects(operations)
	s.registerLogs(operations)
	s.registerHealth(operations)
	addSecurity(operations.OpenAPI())
	addParameterDetails(operations.OpenAPI())
}

// withProblems gives an operation its errors: whatever it returns is turned into a
// problem, and logged if the problem hides the cause.
func withProblems[I, O any](s *service, operation func(context.Context, *I) (*O, error)) func(context.Context, *I) (*O, error) {
	return func(ctx context.Context, in *I) (*O, error) {
		out, err := operation(ctx, in)
		if err != nil {
			return nil, s.problemOf(ctx, err)
		}
		return out, nil
	}
}
