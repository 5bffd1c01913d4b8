package api

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/migrations"
	"github.com/opentax/tally/summaries"
)

func TestMetrics(t *testing.T) {
	t.Parallel()
	pool, err := pgxpool.New(t.Context(), "postgres://nowhere.invalid/")
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	var failure error
	config := Config{Version: "1.2.3", Figures: Figures{
		Pools: map[string]func() *pgxpool.Stat{"requests": pool.Stat, "service": pool.Stat},
		Cache: func() summaries.CacheStats {
			return summaries.CacheStats{Hits: 3, Misses: 1, Entries: 2, Listening: true}
		},
		Ledger: func(ctx context.Context) (ledger.Stats, error) {
			deadline, ok := ctx.Deadline()
			assert.True(t, ok && time.Until(deadline) <= scrapeTimeout)
			return ledger.Stats{
				Runs: []ledger.RunCount{{Kind: "nightly", Status: "succeeded", Runs: 5}}, FilesLoaded: 4,
				Loaded: 784, Rejected: 206, LastSuccess: time.Unix(1700000000, 5e8),
				LastSuccessAge: 90 * time.Second, LastExport: time.Unix(1700000001, 0), LastExportAge: 60 * time.Second, Waiting: 1,
				Schedule: &ledger.ScheduleStats{ClockSkew: -1500 * time.Millisecond, Undecided: 2}, WaitingAge: 2 * time.Second,
				Alerts: []ledger.AlertCount{{Cause: "run.failed", Alerts: 2}}, Undelivered: 3,
			}, failure
		},
	}}
	h := newHandler(t, config)
	for range 3 {
		ask(h, http.MethodGet, "/transactions/123/summary")
	}
	ask(h, http.MethodGet, "/transactions/7/summary")
	ask(h, http.MethodGet, "/no/such/path")
	ask(h, "BREW", "/transactions/7/summary")
	w := ask(h, http.MethodGet, "/metrics")
	require.Equal(t, http.StatusOK, w.Code)
	assert.Contains(t, w.Header().Get("Content-Type"), "text/plain")
	body := w.Body.String()
	for _, line := range []string{
		`tally_http_request_duration_seconds_count{method="GET",route="/transactions/{user_id}/summary",status="200"} 3`,
		`tally_http_request_duration_seconds_count{method="GET",route="/transactions/{user_id}/summary",status="404"} 1`,
		`tally_http_request_duration_seconds_count{method="GET",route="none",status="404"} 1`,
		`tally_http_request_duration_seconds_count{method="other",route="none",status="405"} 1`,
		`tally_summary_lookups_total{result="hit"} 3`, `tally_summary_cache_hit_ratio 0.75`,
		`tally_summary_cache_entries 2`, `tally_summary_cache_listening 1`,
		`tally_runs{kind="nightly",status="succeeded"} 5`, `tally_files_total{status="loaded"} 4`,
		`tally_rows_total{outcome="loaded"} 784`, `tally_last_success_timestamp_seconds 1.7000000005e+09`,
		`tally_last_export_timestamp_seconds 1.700000001e+09`, `tally_last_export_age_seconds 60`,
		`tally_last_success_age_seconds 90`, `tally_clock_skew_seconds -1.5`, `tally_schedule_undecided_days 2`, `tally_queue_runs 1`, `tally_queue_age_seconds 2`, `tally_ledger_up 1`,
		`tally_alerts_open{cause="run.failed"} 2`, `tally_messages_failed_total 3`,
		`tally_pool_connections{pool="requests",state="in_use"} 0`, `tally_pool_max_connections{pool="service"} `, `tally_build_info{version="1.2.3"} 1`, "go_goroutines ",
	} {
		assert.Contains(t, body, line+"", "a line of the figures")
	}
	assert.NotContains(t, body, "/transactions/7")

	failure = errors.New("away")
	body = ask(newHandler(t, config), http.MethodGet, "/metrics").Body.String()
	assert.Contains(t, body, "tally_ledger_up 0")
	assert.NotContains(t, body, "tally_rows_total")
	assert.Contains(t, body, "tally_summary_cache_entries 2", "the rest is there all the same")
}

// Names and help are as Prometheus's linter would have them.
func TestMetricsLint(t *testing.T) {
	t.Parallel()
	m := newMetrics(Figures{
		Cache:  func() summaries.CacheStats { return summaries.CacheStats{} },
		Ledger: func(context.Context) (ledger.Stats, error) { return ledger.Stats{LastSuccess: time.Now()}, nil },
	}, "1")
	problems, err := testutil.GatherAndLint(m.registry)
	require.NoError(t, err)
	assert.Empty(t, problems)
}

// A request's span holds its route and not the path, and those of its statements are
// below it.
func TestSpans(t *testing.T) {
	t.Parallel()
	spans := tracetest.NewSpanRecorder()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	buf, logger := newLog()
	pool := testdb.New(t, migrations.Schema{})
	h := newHandler(t, Config{Tracer: tracer, Logger: logger, Summaries: summaries.NewStore(pool)})
	load(t, pool, 4711, 1)
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	ask(h, http.MethodGet, "/transactions/4711/summary?from=2024-01-01", "Traceparent: "+parent)
	ask(h, http.MethodGet, "/livez")
	ask(h, http.MethodGet, "/transactions/4712/summary")
	ended := spans.Ended()
	require.Len(t, ended, 2)
	assert.Equal(t, "GET /transactions/{user_id}/summary", ended[0].Name())
	assert.Equal(t, "0af7651916cd43dd8448eb211c80319c", ended[0].SpanContext().TraceID().String())
	assert.Equal(t, "b7ad6b7169203331", ended[0].Parent().SpanID().String())
	assert.False(t, ended[1].Parent().IsValid())
	for _, span := range ended {
		for _, a := range span.Attributes() {
			assert.NotContains(t, a.Value.String(), "471")
		}
	}
	assert.Contains(t, buf.String(), "0af7651916cd43dd8448eb211c80319c", "the log names the trace")
}
