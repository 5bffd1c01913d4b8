// Package console is Tally's pages for people, over the same operations as the API.
//
// Guarantees. A page is complete HTML from the server: it works without scripts, loads nothing
// from other hosts, and has no inline script or style. A GET changes nothing. A change is a form
// of the service's own pages, for operators, and is in the audit chain or trail.
//
// Failure. A page that cannot be made is a page that says why, with the problem's status and the
// request's id.
package console

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/reject"
	"github.com/opentax/tally/internal/report"
	"github.com/opentax/tally/jobs/ledger"
)

// Paths outside of the API's.
const (
	Root      = "/"
	Prefix    = "/console/"
	pageLimit = 10 * time.Second // for one page
)

// Config configures the console. All but Drop, Currency, Jobs and Stop is required; [api.New] sets
// Summaries, Receipt, Viewer and Problem.
type Config struct {
	Ledger    *ledger.Store
	Summaries Summaries
	Changes   Changes
	Tonight   func(context.Context) (ledger.Tonight, error)
	// DueAt is when a file of a source is to be loaded for a logical date, if it has a time for it.
	DueAt func(source string, date civil.Date) (at time.Time, ok bool)
	// Receipt writes the receipt of a user's total, or returns [ErrNoReceipt] or [ErrLargeReceipt].
	Receipt func(ctx context.Context, w io.Writer, userID int32) error
	// Report reports on the database; it takes up to a minute.
	Report func(context.Context) (*report.Report, error)
	// TimeZone is that of the midnights.
	TimeZone *time.Location
	Drop     *Drop // takes files from browsers; nil: the console does not
	// Currency is of all amounts; "" means the one that loaded files have proven.
	Currency string
	Jobs     string          // where River UI is, such as /riverui
	Stop     <-chan struct{} // closed when the server shuts down: live pages end then
	Viewer   func(*http.Request) Viewer
	Problem  func(context.Context, error) Problem // its status and words
}

// Changes lists and changes what was not loaded, as jobs.Service does.
type Changes interface {
	Reject(ctx context.Context, id reject.ID) (ledger.ListedReject, error)
	Rejects(ctx context.Context, f ledger.RejectFilter) ([]ledger.ListedReject, error)
	Replay(ctx context.Context, r ledger.ReplayRequest) (reject.ReplayResult, error)
	Fix(ctx context.Context, r ledger.FixRequest) (ledger.ListedReject, error)
	Settle(ctx context.Context, id reject.ID, take bool, by audit.By) (ledger.ListedReject, error)
	Discard(ctx context.Context, id reject.ID, by audit.By) (ledger.ListedReject, error)
	Revert(ctx context.Context, r ledger.RevertRequest) (reject.RevertResult, error)
}

// Viewer is who looks.
type Viewer struct {
	Name     string // "token:ann", or "anonymous"
	Origin   string // a network address, for the audit trail
	Operator bool   // may make changes
}

type console struct {
	Config
	pages    *Pages
	reporter *reporter
	streams  chan struct{} // bounds live pages
}

// register is every page and form of the console, by its pattern.
func (c *console) register(handle func(pattern string, do handler)) {
	handle("GET /{$}", c.tonight)
	handle("GET /console/nights", c.nights)
	handle("GET /console/runs/{id}", c.run)
	handle("GET "+usersPath, c.users)
	handle("GET "+usersPath+"/{id}", c.user)
	handle("GET "+usersPath+"/{id}/receipt", c.receipt)
	handle("GET "+historyPath, c.history)
	handle("GET "+totalsPath, c.totals)
	handle("GET "+sourcesPath, c.sources)
	handle("GET "+healthPath, c.health)
	handle("GET "+healthPath+"/report", c.wholeReport)
	handle("POST "+healthPath+"/report", c.makeReport)
	handle("GET "+DropPath, c.dropForm)
	handle("POST "+DropPath, c.upload)
	handle("GET "+DropPath+"/{id}", c.dropped)
	handle("POST "+DropPath+"/{id}/load", c.loadDropped)
	handle("GET /console/files/{id}", c.file)
	handle("POST /console/files/{id}/revert", c.revert)
	handle("GET /console/rejects", c.rejects)
	handle("POST /console/rejects/replay", c.replay)
	handle("GET /console/rejects/{id}", c.reject)
	handle("POST /console/rejects/{id}/{change}", c.decide)
}

// handler answers a request, or returns an error for the page that says so.
type handler func(w http.ResponseWriter, r *http.Request) error

// Mount adds the console to a router.
func Mount(mux *http.ServeMux, pages *Pages, config Config) {
	c := &console{Config: config, pages: pages, reporter: &reporter{Config: config}, streams: make(chan struct{}, maxStreams)}
	protected := http.NewCrossOriginProtection() // also where requests are not authorized
	c.register(func(pattern string, do handler) {
		mux.Handle(pattern, protected.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), limitOf(r))
			defer cancel()
			r = r.WithContext(ctx)
			if err := do(w, r); err != nil {
				c.pages.WriteProblem(w, c.problem(ctx, err))
			}
		})))
	})
	mux.HandleFunc("GET /console/runs/{id}/events", c.events)
	mux.Handle("GET "+Prefix+"{$}", http.RedirectHandler(Root, http.StatusSeeOther))
}

// limitOf is the time for a request: files take longer than pages.
func limitOf(r *http.Request) time.Duration {
	switch {
	case r.URL.Path == DropPath && r.Method == http.MethodPost:
		return uploadLimit
	case strings.HasPrefix(r.URL.Path, DropPath+"/"):
		return checkLimit
	default:
		return pageLimit
	}
}

// MaxBody is the size of a request's body where it may be a file, or 0.
func (c *Config) MaxBody(r *http.Request) int64 {
	if c == nil || c.Drop == nil || r.URL.Path != DropPath || r.Method != http.MethodPost {
		return 0
	}
	const form = 64 << 10 // around the file
	return c.Drop.MaxBytes + form
}

// invalidError is a form that cannot be carried out, and why.
type invalidError struct{ detail string }

func (e *invalidError) Error() string { return e.detail }

func (c *console) problem(ctx context.Context, err error) Problem {
	if invalid, ok := errors.AsType[*invalidError](err); ok {
		return Problem{Status: http.StatusUnprocessableEntity, Title: "The form cannot be carried out", Detail: invalid.detail}
	}
	if gone, ok := dropProblem(err); ok {
		return gone
	}
	return c.Problem(ctx, err)
}

// page is the frame of a page.
func (c *console) page(r *http.Request, title, path string, data any) (Page, error) {
	p := Page{Title: title, Path: path, Viewer: c.Viewer(r), Currency: c.Currency, Jobs: c.Jobs, Data: data}
	if p.Currency != "" {
		return p, nil
	}
	proven, err := c.Ledger.Conventions(r.Context())
	for _, convention := range proven {
		if convention.Convention == "currency" {
			p.Currency = cmp.Or(p.Currency, convention.Value)
		}
	}
	return p, err
}

// show answers with a page.
func (c *console) show(w http.ResponseWriter, r *http.Request, file, title, path string, data any) error {
	p, err := c.page(r, title, path, data)
	if err != nil {
		return err
	}
	p.Notice = notice(r.URL.Query())
	return c.pages.Write(w, http.StatusOK, file, p)
}
