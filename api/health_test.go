package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestHealth(t *testing.T) {
	t.Parallel()
	h := newHandler(t, Config{Version: "1.2.3"})
	w := ask(h, http.MethodGet, "/livez")
	assert.Equal(t, http.StatusOK, w.Code)
	assert.Equal(t, `{"status":"alive","version":"1.2.3"}`+"\n", w.Body.String())
	assert.Equal(t, "no-store", w.Header().Get("Cache-Control"))

	w = ask(h, http.MethodGet, "/readyz")
	assert.Equal(t, http.StatusOK, w.Code)
	assert.Equal(t, `{"status":"ready"}`+"\n", w.Body.String())
}

func TestNotReady(t *testing.T) {
	t.Parallel()
	cause := errors.New("dial tcp 10.0.0.7: secret")
	for _, tc := range []struct {
		err   error
		parts []string
	}{
		{NotReady("database", cause), []string{"database"}},
		{fmt.Errorf("check: %w", NotReady("schedule", nil)), []string{"schedule"}},
		{errors.Join(NotReady("migrations", cause), NotReady("database", cause), NotReady("database", nil)), []string{"database", "migrations"}},
		{errors.Join(NotReady("migrations", cause), cause), []string{"migrations", "service"}},
		{cause, []string{"service"}},
	} {
		buf, logger := newLog()
		h := newHandler(t, Config{Logger: logger, Ready: func(context.Context) error { return tc.err }})
		w := ask(h, http.MethodGet, "/readyz")
		p := requireProblem(t, w, http.StatusServiceUnavailable, "not-ready")
		assert.Equal(t, tc.parts, p.NotReady)
		assert.NotEmpty(t, w.Header().Get("Retry-After"))
		assert.NotContains(t, w.Body.String(), "secret")
		assert.Contains(t, buf.String(), p.RequestID)
		assert.Equal(t, http.StatusOK, ask(h, http.MethodGet, "/livez").Code, "the process serves all the same")
	}
	assert.ErrorIs(t, NotReady("database", cause), cause)

	clock := errors.New("the clock is ahead")
	h := newHandler(t, Config{Ready: func(context.Context) error {
		return errors.Join(Degraded("listener", cause), NotReadyBecause("clock", clock), NotReady("database", cause))
	}})
	p := requireProblem(t, ask(h, http.MethodGet, "/readyz"), http.StatusServiceUnavailable, "not-ready")
	assert.Equal(t, []string{"clock", "database"}, p.NotReady)
	assert.Equal(t, "A required part is unavailable: the clock is ahead.", p.Detail, "a cause that is shown, and no other")
	assert.ErrorIs(t, NotReadyBecause("clock", clock), clock)
}

func TestDegraded(t *testing.T) {
	t.Parallel()
	buf, logger := newLog()
	late := errors.New("the schedule stands at 2024-01-01")
	err := errors.Join(Degraded("schedule", late), Degraded("listener", nil), Degraded("schedule", nil))
	h := newHandler(t, Config{Logger: logger, Ready: func(context.Context) error { return err }})
	w := ask(h, http.MethodGet, "/readyz")
	assert.Equal(t, http.StatusOK, w.Code)
	assert.Equal(t, `{"status":"ready","degraded":["listener","schedule"]}`+"\n", w.Body.String())
	assert.Contains(t, buf.String(), late.Error())

	err = errors.Join(err, NotReady("migrations", nil))
	h = newHandler(t, Config{Ready: func(context.Context) error { return err }})
	p := requireProblem(t, ask(h, http.MethodGet, "/readyz"), http.StatusServiceUnavailable, "not-ready")
	assert.Equal(t, []string{"migrations"}, p.NotReady)
}
