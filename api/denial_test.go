package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/jobs/ledger"
)

// trail is an audit trail in memory.
type trail struct {
	mu     sync.Mutex
	events []ledger.Event
}

func (tr *trail) record(_ context.Context, e ledger.Event) error {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.events = append(tr.events, e)
	return nil
}

func (tr *trail) all() []ledger.Event {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return append([]ledger.Event(nil), tr.events...)
}

func deny(d *denialLog, remote, path string) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.RemoteAddr, r.URL.Path = remote, path
	d.add(r, anonymous, kindUnauthorized.problem())
}

func TestDenialsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var tr trail
		_, logger := newLog()
		d := &denialLog{record: tr.record, logger: logger, rest: anonymous}
		for range 1000 {
			deny(d, "192.0.2.1:5", "/x")
		}
		deny(d, "192.0.2.2:5", "/y")
		require.Len(t, tr.all(), maxDenialsPerClient+1, "a client that keeps being refused hides no other")

		for i := range 100_000 { // from everywhere
			deny(d, fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255), "/z")
		}
		deny(d, "192.0.2.2:5", "/y") // one who has had an event, and less than his share of them
		require.Len(t, tr.all(), maxDenials)
		d.mu.Lock() // against the timer, of which the race detector does not know that it comes later
		require.LessOrEqual(t, len(d.recorded), maxDenials, "memory is bounded as well")
		d.mu.Unlock()

		time.Sleep(denialWindow)
		synctest.Wait()
		list := tr.all()
		require.Len(t, list, maxDenials+1, "one event for what was left out")
		last := list[maxDenials]
		assert.Equal(t, ledger.ActionSuppressed, last.Action)
		assert.Equal(t, 1000+1+100_000+1-maxDenials, last.Detail["suppressed"])
		assert.Equal(t, map[string]int{"192.0.2.1/32": 1000 - maxDenialsPerClient, "192.0.2.2/32": 1}, last.Detail["origins"])

		deny(d, "192.0.2.1:5", "/x")
		assert.Len(t, tr.all(), maxDenials+2, "the next window begins")
		time.Sleep(2 * denialWindow)
		synctest.Wait()
		assert.Len(t, tr.all(), maxDenials+2, "nothing was left out")
	})
}

func TestDenialsAreWrittenDownAtTheEnd(t *testing.T) {
	t.Parallel()
	var tr trail
	d := &denialLog{record: tr.record}
	for range maxDenialsPerClient + 5 {
		deny(d, "192.0.2.1:5", "/x")
	}
	d.flush()
	list := tr.all()
	require.Len(t, list, maxDenialsPerClient+1)
	assert.Equal(t, 5, list[maxDenialsPerClient].Detail["suppressed"])
	d.flush()
	assert.Len(t, tr.all(), maxDenialsPerClient+1)
}

// Each token has an event of its own for what was left out.
func TestDenialsOfTokensNameThem(t *testing.T) {
	t.Parallel()
	var tr trail
	d := &denialLog{record: tr.record, rest: "tokens"}
	for i := range maxDenialsPerClient + 3 {
		r := httptest.NewRequest(http.MethodPost, "/x", nil)
		d.add(r, "token:ann", kindForbidden.problem())
		if i < maxDenialsPerClient+2 {
			d.add(r, "token:bob", kindForbidden.problem())
		}
	}
	for i := range maxDenials {
		d.add(httptest.NewRequest(http.MethodPost, "/x", nil), fmt.Sprintf("token:%d", i), kindForbidden.problem())
	}
	d.flush()
	left := map[string]any{}
	for _, e := range tr.all() {
		if e.Action == ledger.ActionSuppressed {
			left[e.Actor] = e.Detail["suppressed"]
		}
	}
	assert.Equal(t, map[string]any{"token:ann": 3, "token:bob": 2, "tokens": 2 * maxDenialsPerClient}, left)
	assert.Len(t, tr.all(), maxDenials+3)
}

func TestADenialIsShort(t *testing.T) {
	t.Parallel()
	var tr trail
	d := &denialLog{record: tr.record}
	deny(d, "192.0.2.1:5", "/"+strings.Repeat("x", 5000))
	d.flush()
	require.Len(t, tr.all(), 1)
	assert.Len(t, tr.all()[0].Subject, maxDenialText)
}

func TestADenialThatCannotBeWrittenIsLogged(t *testing.T) {
	t.Parallel()
	buf, logger := newLog()
	d := &denialLog{record: func(context.Context, ledger.Event) error { return errors.New("no room") }, logger: logger}
	deny(d, "192.0.2.1:5", "/x")
	d.flush()
	assert.Contains(t, buf.String(), "cannot write a denial to the audit trail")
	assert.Contains(t, buf.String(), "192.0.2.1:5")
}
