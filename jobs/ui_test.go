package jobs

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/pipeline"
)

func uiRequest(t *testing.T, ui http.Handler, method, path, body, site string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if site != "" {
		r.Header.Set("Sec-Fetch-Site", site)
	}
	w := httptest.NewRecorder()
	ui.ServeHTTP(w, r)
	return w
}

func TestUIShowsOutputAndLog(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	s := newService(t, pool, Config{Sources: []pipeline.Source{newSource(t, rows(3))}})
	require.NoError(t, s.Start(ctx))
	run := dueRun(t, s, "2024-05-10")
	awaitStatus(t, s, run.ID, ledger.StatusSucceeded)
	ui, err := s.UI("/riverui/")
	require.NoError(t, err)
	index := uiRequest(t, ui, http.MethodGet, "/riverui/", "", "cross-site")
	assert.Equal(t, http.StatusOK, index.Code)
	assert.Contains(t, index.Body.String(), "/riverui/assets/")
	job := count(t, pool, "SELECT id::int FROM river_job WHERE kind = 'etl_run'")
	require.Eventually(t, func() bool {
		body := uiRequest(t, ui, http.MethodGet, fmt.Sprintf("/riverui/api/jobs/%d", job), "", "").Body.String()
		return strings.Contains(body, `"state":"completed"`) && strings.Contains(body, "file loaded") && strings.Contains(body, `"loaded":3`)
	}, testdb.Patience, 1e7)
}

func TestUIChangesAreGuardedAndAudited(t *testing.T) {
	t.Parallel()
	pool := newPool(t)
	s := newService(t, pool, Config{Actor: func(r *http.Request) string { return r.Header.Get("X-User") }})
	run := dueRun(t, s, "2024-05-10")
	ui, err := s.UI("/riverui")
	require.NoError(t, err)
	body := fmt.Sprintf(`{"ids":["%d"]}`, count(t, pool, "SELECT id::int FROM river_job WHERE (args ->> 'run_id')::int = $1", run.ID))
	const cancel, state = "/riverui/api/jobs/cancel", "SELECT state::text FROM river_job"

	assert.Equal(t, http.StatusForbidden, uiRequest(t, ui, http.MethodPost, cancel, body, "cross-site").Code)
	assert.Equal(t, http.StatusForbidden, uiRequest(t, ui, http.MethodPost, cancel, body, "same-site").Code)
	assert.Equal(t, "available", text(t, pool, state))
	assert.Zero(t, count(t, pool, "SELECT count(*) FROM audit_events WHERE action = 'queue.change'"))

	allow := refuse(t, pool, "audit_events", "53100")
	assert.Equal(t, http.StatusServiceUnavailable, uiRequest(t, ui, http.MethodPost, cancel, body, "same-origin").Code)
	assert.Equal(t, "available", text(t, pool, state), "what cannot be audited is not done")
	allow()
	assert.Equal(t, http.StatusRequestEntityTooLarge, uiRequest(t, ui, http.MethodPost, cancel, strings.Repeat("x", uiBodyLimit+1), "same-origin").Code)

	r := httptest.NewRequest(http.MethodPost, cancel, strings.NewReader(body))
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("X-User", "ann")
	w := httptest.NewRecorder()
	ui.ServeHTTP(w, r)
	assert.Equal(t, http.StatusOK, w.Code, w.Body)
	assert.Equal(t, "cancelled", text(t, pool, state))
	assert.Equal(t, "ann POST "+cancel+" 192.0.2.1:1234 "+body, text(t, pool,
		`SELECT actor || ' ' || subject || ' ' || origin || ' ' || replace((detail -> 'body')::text, ' ', '') FROM audit_events WHERE action = 'queue.change'`))
}

// A page that asks for what hangs gets an answer in bounded time, and gives its place up.
func TestUIIsBounded(t *testing.T) {
	t.Parallel()
	s := newService(t, newPool(t), Config{})
	var left time.Duration
	h := s.bounded(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		deadline, ok := r.Context().Deadline()
		assert.True(t, ok)
		left = time.Until(deadline)
	}))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", http.NoBody))
	assert.Positive(t, left)
	assert.LessOrEqual(t, left, uiTimeout)
}
