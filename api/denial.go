package api

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/opentax/tally/jobs/ledger"
)

const (
	denialWindow        = 10 * time.Minute
	maxDenials          = 100 // with an audit event of their own in a window; the others are counted
	maxDenialsPerClient = 10
	maxDenialText       = 200 // of a request's line in the audit trail
	auditTimeout        = 2 * time.Second
)

// denialLog writes denials to the audit trail, a bounded number per window, so that no client
// can fill the disk. At the window's end it writes the number of those left out.
type denialLog struct {
	record func(context.Context, ledger.Event) error
	logger *slog.Logger
	rest   string // the actor of suppressed denials of untracked clients

	mu         sync.Mutex
	window     *time.Timer // of the current window; nil between windows
	total      int         // recorded
	recorded   map[clientKey]int
	suppressed map[string]*suppressed // by actor
}

type clientKey struct {
	actor   string
	network netip.Prefix
}

// suppressed counts the denials of an actor without an event of their own. Only tracked clients
// have their network counted, which bounds the memory.
type suppressed struct {
	total   int
	origins map[string]int
}

// add records or counts a denial. The request is denied even if that fails.
func (d *denialLog) add(r *http.Request, actor string, p *Problem) {
	if !d.admit(clientKey{actor, network(r.RemoteAddr)}) {
		return
	}
	// Escaped: a path can contain what PostgreSQL cannot store, and control sequences.
	line := r.Method + " " + r.URL.EscapedPath()
	d.write(context.WithoutCancel(r.Context()), ledger.Event{
		Actor: actor, Action: ledger.ActionDenied, Subject: line[:min(len(line), maxDenialText)], Origin: r.RemoteAddr,
		Detail: map[string]any{"status": p.Status, "problem": strings.TrimPrefix(p.Type, problemsPath), "request_id": requestID(r.Context())},
	})
}

func (d *denialLog) write(ctx context.Context, e ledger.Event) {
	ctx, cancel := context.WithTimeout(ctx, auditTimeout)
	defer cancel()
	if err := d.record(ctx, e); err != nil {
		d.logger.ErrorContext(ctx, "cannot write a denial to the audit trail",
			"action", e.Action, "actor", e.Actor, "origin", e.Origin, "error", err)
	}
}

// admit counts a denial, and reports whether it gets an event of its own.
func (d *denialLog) admit(client clientKey) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.window == nil {
		d.window = time.AfterFunc(denialWindow, d.flush)
		d.recorded, d.suppressed = map[clientKey]int{}, map[string]*suppressed{}
	}
	n, tracked := d.recorded[client]
	if d.total < maxDenials && n < maxDenialsPerClient {
		d.recorded[client]++
		d.total++
		return true
	}
	actor := d.rest
	if tracked {
		actor = client.actor
	}
	if d.suppressed[actor] == nil {
		d.suppressed[actor] = &suppressed{origins: map[string]int{}}
	}
	d.suppressed[actor].total++
	if tracked {
		d.suppressed[actor].origins[client.network.String()]++
	}
	return false
}

// flush ends the window, and writes one event per actor with suppressed denials.
func (d *denialLog) flush() {
	d.mu.Lock()
	if d.window != nil {
		d.window.Stop()
	}
	left := d.suppressed
	d.window, d.total, d.recorded, d.suppressed = nil, 0, nil, nil
	d.mu.Unlock()
	for actor, s := range left {
		d.write(context.Background(), ledger.Event{Actor: actor, Action: ledger.ActionSuppressed, Subject: "requests",
			Detail: map[string]any{"suppressed": s.total, "origins": s.origins}})
	}
}
