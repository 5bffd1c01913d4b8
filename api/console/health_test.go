package console_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/api/console"
	"github.com/opentax/tally/internal/report"
	"github.com/opentax/tally/internal/testdb"
)

func TestHealthWithoutData(t *testing.T) {
	t.Parallel()
	h, _ := newConsole(t, "", nil)
	page := text(get(t, h, http.StatusOK, "/console/health"))
	for _, words := range []string{
		"Not verified yet.", "Runs that wait for a worker 0", "This process has made none yet.", "None has begun a run yet.",
		"Exports None yet.", "Partitions None yet.", "Empty: nothing has changed the data yet.",
	} {
		assert.Contains(t, page, words)
	}
	assert.NotContains(t, page, "Make a report", "which is for operators")
}

func TestHealth(t *testing.T) {
	t.Parallel()
	h, _ := newConsole(t, data+`
		INSERT INTO etl_runs (kind, logical_date, requested_by, created_at) VALUES ('nightly', '2024-08-01', 'schedule', now() - interval '2 hours');
		INSERT INTO etl_outcomes (run_id, attempt, status) VALUES (1, 1, 'succeeded');
		INSERT INTO etl_verifications (logical_date, requested_by, status, error, rows, users, days, files, differences, found, worker, code_version, started_at)
		VALUES ('2024-07-31', 'schedule', 'drift', NULL, 151, 2, 151, 1, 1, '[{"relation":"user_summary","key":"user_id 7","field":"total_amount","stored":"1","computed":"2"}]', 'w', '1', now()),
			(NULL, 'cli', 'retrying', 'lost <it>', 0, 0, 0, 0, 0, '[]', 'w', '1', now());
		INSERT INTO etl_exports (run_id, requested_by, target, status, epoch, last_file_id, files, written, removed, rows, total_amount, bytes, bytes_written, worker, code_version, started_at)
		VALUES (1, 'schedule', 's3://lake', 'succeeded', 1, 1, 3, 2, 0, 151, 1234.5, 4096, 4096, 'w', '1', now());
		INSERT INTO audit_chain VALUES (1, '2024-08-01', 'load', 1, '{}', decode(repeat('ab', 32), 'hex'));`, nil)
	page := text(get(t, h, http.StatusOK, "/console/health"))
	for _, words := range []string{
		"1 difference. Next: tally verify", "user_summary user_id 7 total_amount 1 2", "drift 2024-07-31 1 151 2 1", "retrying lost &lt;it&gt;",
		"Runs that wait for a worker 1, the longest for 2h0m", "worker-1 1.0.0 1 succeeded", "succeeded s3://lake 1 3 2 151 1,234.50 EUR 4.0 KiB",
		"2024-07 28 −45.00 EUR", "no stored, fewer than 100 rows", "Head 1:" + strings.Repeat("ab", 32),
	} {
		assert.Contains(t, page, words)
	}
	assert.Less(t, strings.Index(page, "2024-07 28"), strings.Index(page, "2022-01 1 99"))
	before := text(get(t, h, http.StatusOK, "/console/health?before=2024-03"))
	assert.NotContains(t, before, "2024-07 28")
	assert.Contains(t, before, "2022-01 1 99")
}

func TestReport(t *testing.T) {
	t.Parallel()
	results := make(chan error)
	begun := make(chan struct{}, 2)
	h, _ := newConsole(t, "", func(c *console.Config) {
		c.Viewer = func(*http.Request) console.Viewer { return console.Viewer{Operator: true} }
		c.Report = func(context.Context) (*report.Report, error) {
			begun <- struct{}{}
			err := <-results
			if errors.Is(err, errors.ErrUnsupported) {
				panic("a bug")
			}
			return &report.Report{At: time.Date(2024, 8, 1, 0, 0, 0, 0, time.UTC), Skipped: []report.Skip{{What: "the plan of <a>", Why: "it took long"}}, Findings: []report.Finding{
				{ID: "missing-index", Severity: report.Critical, Title: "The index <x> is not there", Cost: "much", Evidence: []string{"seen"}, Fix: "CREATE INDEX x;"},
			}}, err
		}
	})
	post := func(ctx context.Context) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/console/health/report", nil).WithContext(ctx))
		assert.Equal(t, http.StatusSeeOther, w.Code)
		assert.Equal(t, "/console/health#report", w.Header().Get("Location"))
	}
	assert.Contains(t, text(get(t, h, http.StatusOK, "/console/health")), "Make a report")
	gone, leave := context.WithCancel(t.Context())
	leave()
	post(gone)
	post(gone)
	<-begun
	assert.Empty(t, begun, "one at a time")
	page := text(get(t, h, http.StatusOK, "/console/health"))
	assert.Contains(t, page, "A report is being made.")
	assert.NotContains(t, page, "Make a report")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/console/health/report", nil))
	assert.Equal(t, http.StatusSeeOther, w.Code, "there is none yet")

	results <- nil
	require.Eventually(t, func() bool {
		return strings.Contains(text(get(t, h, http.StatusOK, "/console/health")), "1 finding, the most severe first, as of")
	}, testdb.Patience, time.Millisecond)
	page = text(get(t, h, http.StatusOK, "/console/health"))
	assert.Contains(t, page, "Not looked at: 1 thing the plan of &lt;a&gt;: it took long")
	assert.Contains(t, page, "critical The index &lt;x&gt; is not there Cost: much seen Suggested fix; not executed : CREATE INDEX x;")
	w = httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/console/health/report", nil))
	assert.Equal(t, `attachment; filename="tally-report-20240801-000000.html"`, w.Header().Get("Content-Disposition"))
	assert.Contains(t, w.Body.String(), "The index &lt;x&gt; is not there")

	go func() { results <- errors.New("the database is unavailable") }()
	post(t.Context())
	page = text(get(t, h, http.StatusOK, "/console/health"))
	assert.Contains(t, page, "No report could be made: the database is unavailable")
	assert.Contains(t, page, "1 finding", "the last one stays")

	go func() { results <- errors.ErrUnsupported }()
	post(t.Context())
	page = text(get(t, h, http.StatusOK, "/console/health"))
	assert.Contains(t, page, "No report could be made: panic: a bug")
	assert.Contains(t, page, "Make a report", "another can be made")
}
