package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"go.opentelemetry.io/otel/trace"

	"github.com/opentax/tally/api/console"
	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/replica"
	"github.com/opentax/tally/jobs/ledger"
)

const defaultRequestTimeout = 10 * time.Second

// Config configures the API. Summaries, Runs, Request, Changes and Proofs are required; the zero
// value of the rest works.
type Config struct {
	Summaries Summaries
	Runs      RunReader
	// Request enqueues the run of a logical date, nil for the day that has just ended; by and
	// origin are for the audit trail. If the date has a run, it returns that one, not marked as
	// created; if the date has not ended, [ledger.ErrNotEnded]. jobs.Service has one.
	Request func(ctx context.Context, date *civil.Date, by, origin string) (ledger.Run, error)
	// Changes lists rejects, and changes loaded data. jobs.Service is one.
	Changes Changes
	Proofs  Proofs
	// Ready reports whether the service is ready; nil means always. It names the missing parts
	// with [NotReady], joined if there are several; any other error counts as the part "service".
	// It is called at most once a second, and never twice at a time.
	Ready   func(ctx context.Context) error
	Version string       // of the program, shown by /livez; the document has the API's own version
	Logger  *slog.Logger // receives the causes that problems hide; nil discards them
	// AccessLog receives one line a request; nil means Logger. It is separate so that these
	// many lines can be buffered while others are written at once.
	AccessLog *slog.Logger
	// Mounts are handlers of subtrees, by prefix ("/riverui/"). Their responses are not
	// replaced, have no deadline, and get security headers for pages with scripts and styles.
	Mounts  map[string]http.Handler
	Figures Figures
	// Tracer traces each request except probes, as part of the trace in its traceparent; nil
	// disables tracing.
	Tracer         trace.TracerProvider
	Access         *Access         // authorizes requests; nil allows all
	Console        *console.Config // the pages at /; nil leads from there to the docs
	Replicas       *replica.Set    // that Summaries, Runs and Changes read from; nil means that they read from one server
	RequestTimeout time.Duration   // of one operation; 0 means 10 seconds
}

func (c Config) check() error {
	switch {
	case c.Summaries == nil:
		return errors.New("api: Config.Summaries is missing")
	case c.Runs == nil:
		return errors.New("api: Config.Runs is missing")
	case c.Request == nil:
		return errors.New("api: Config.Request is missing")
	case c.Changes == nil:
		return errors.New("api: Config.Changes is missing")
	case c.Proofs == nil:
		return errors.New("api: Config.Proofs is missing")
	case c.RequestTimeout < 0:
		return errors.New("api: Config.RequestTimeout is negative")
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

// Proofs proves what is stored.
type Proofs interface {
	// Receipt writes the receipt of a user's total as JSON, or returns [console.ErrNoReceipt] or
	// [console.ErrLargeReceipt].
	Receipt(ctx context.Context, w io.Writer, userID int32) error
	// VerifyChain replays the audit chain against the tables; a head that was noted elsewhere, unless
	// it is zero, must be part of the chain. The API calls it once at a time.
	VerifyChain(ctx context.Context, noted audit.Head) (audit.Verification, error)
}

type service struct {
	Config
	chain chain
	ready look[struct{}]
	pages *console.Pages
}

func newService(c Config) *service {
	if c.Ready == nil {
		c.Ready = func(context.Context) error { return nil }
	}
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	c.AccessLog = cmp.Or(c.AccessLog, c.Logger)
	c.RequestTimeout = cmp.Or(c.RequestTimeout, defaultRequestTimeout)
	return &service{Config: c, chain: chain{verify: c.Proofs}, ready: look[struct{}]{
		read:  func(ctx context.Context) (struct{}, error) { return struct{}{}, c.Ready(ctx) },
		limit: readyTimeout,
	}}
}

// New builds the handler of the whole API. It holds no resources of its own.
func New(c Config) (http.Handler, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	s := newService(c)
	var err error
	if s.pages, err = console.NewPages(); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	operations := humago.New(fastPath{mux, s}, humaConfig())
	s.register(operations)
	mountDocument(mux, operations.OpenAPI())
	s.mountPages(mux)
	s.mountConsole(mux)
	for prefix, handler := range c.Mounts {
		mux.Handle(prefix, handler)
	}
	return newMiddleware(mux, s)
}
