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
	denialWindow = 10 * time.Minute
	// Denials that have an audit event of their own in a window: of all, and of
	// one who asks from one network. The others are counted.
	maxDenials          = 100
	maxDenialsPerClient = 10
	// maxDenialText bounds what a refused request writes into the audit trail.
	maxDenialText = 200
	auditTimeout  = 2 * time.Second
)

// denials writes refused requests to the audit trail, a bounded number a window:
// nobody fills the disk by knocking. What was left out is counted, and written
// down at the window's end.
type denialLog struct {
	record func(context.Context, ledger.Event) error
	logger *slog.Logger
	rest   string // the actor of what is counted without saying of whom

	mu       sync.Mutex
	window   *time.Timer // of the window that is going on; nil where there is none
	recorded int
	counts   map[clientKey]*denialCount // at most maxDenials of them
	others   int                        // suppressed, of those that have no count
}

// clientKey is who was refused: a token's holder or nobody known, and from where.
type clientKey struct {
	actor string
	from  netip.Prefix
}

type denialCount struct{ recorded, suppressed int }

// note writes a refused request down, or counts it. The request has been refused
// whether or not that works.
func (d *denialLog) add(r *http.Request, actor string, p *Problem) {
	if !d.admit(clientKey{actor, network(r.RemoteAddr)}) {
		return
	}
	d.write(context.WithoutCancel(r.Context()), ledger.Event{
		// Escaped: a path can hold what no text of the database can, and what a
		// terminal would obey.
		Actor: actor, Action: ledger.ActionDenied, Subject: truncate(r.Method + " " + r.URL.EscapedPath()), Origin: r.RemoteAddr,
		Detail: map[string]any{"status": p.Status, "problem": strings.TrimPrefix(p.Type, problemsPath), "request_id": requestID(r.Context())},
	})
}

func (d *denialLog) write(ctx context.Context, e ledger.Event) {
	ctx, cancel := context.WithTimeout(ctx, auditTimeout)
	defer cancel()
	if err := d.record(ctx, e); err != nil {
		d.logger.LogAttrs(ctx, slog.LevelError, "cannot write a denial to the audit trail",
			slog.String("action", e.Action), slog.String("actor", e.Actor), slog.String("origin", e.Origin), slog.Any("error", err))
	}
}

// admit reports whether a denial has an event of its own, and counts it.
func (d *denialLog) admit(who clientKey) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.window == nil {
		d.window = time.AfterFunc(denialWindow, d.flush)
		d.counts = map[clientKey]*denialCount{}
	}
	count := d.counts[who]
	if count == nil {
		if d.recorded >= maxDenials {
			d.others++
			return false
		}
		count = &denialCount{}
		d.counts[who] = count
	}
	if d.recorded >= maxDenials || count.recorded >= maxDenialsPerClient {
		count.suppressed++
		return false
	}
	d.recorded++
	count.recorded++
	return true
}

// suppressed is what one actor was refused without an event of its own.
type suppressed struct {
	total   int
	origins map[string]int
}

// flush ends the window and writes down what it left out, in one event an actor.
func (d *denialLog) flush() {
	for actor, left := range d.end() {
		d.write(context.Background(), ledger.Event{Actor: actor, Action: ledger.ActionSuppressed, Subject: "requests",
			Detail: map[string]any{"suppressed": left.total, "origins": left.origins}})
	}
}

// end ends the window and returns what it left out.
func (d *denialLog) end() map[string]*suppressed {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.window != nil {
		d.window.Stop()
	}
	left := map[string]*suppressed{}
	of := func(actor string) *suppressed {
		if left[actor] == nil {
			left[actor] = &suppressed{origins: map[string]int{}}
		}
		return left[actor]
	}
	for who, count := range d.counts {
		if count.suppressed > 0 {
			of(who.actor).total += count.suppressed
			of(who.actor).origins[who.from.String()] += count.suppressed
		}
	}
	if d.others > 0 {
		of(d.rest).total += d.others
	}
	d.window, d.counts, d.recorded, d.others = nil, nil, 0, 0
	return left
}

func truncate(text string) string {
	return text[:min(len(text), maxDenialText)]
}
