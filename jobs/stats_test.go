package jobs

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/pipeline"
)

func TestStats(t *testing.T) {
	t.Parallel()
	pool := newPool(t)
	clock := newFakeClock(moment(t, "2024-03-10T12:00:00Z"))
	source := newSource(t, rows(10), csvHeader+"T1,2,9.99,2024-05-01\nT50,1,1,2024-05-01\nT51,x,1,2024-05-01\nT50,1,1,2024-05-01\n", "no header\n")
	s := newService(t, pool, Config{Clock: clock, Sources: []pipeline.Source{source}})
	stats, err := s.Ledger().Stats(t.Context())
	require.NoError(t, err)
	assert.Equal(t, ledger.Stats{Runs: []ledger.RunCount{}, Alerts: []ledger.AlertCount{}}, stats)
	require.ErrorIs(t, s.CheckSchedule(t.Context(), 0), ErrScheduleLate)

	_, err = s.Run(t.Context(), RunRequest{})
	require.Error(t, err, "a file has no header")
	_, err = s.Run(t.Context(), RunRequest{Paths: []bucket.Location{source.Path.Join("a.csv")}})
	require.NoError(t, err)
	dueRun(t, s, "2024-03-08")
	execute(t, pool, "ALTER TABLE etl_runs DISABLE TRIGGER append_only; UPDATE etl_runs SET created_at = now() - interval '1 hour' WHERE logical_date = '2024-03-08'")
	_, err = s.EnqueueDue(t.Context(), clock.Now())
	require.NoError(t, err)

	stats, err = s.Ledger().Stats(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []ledger.RunCount{{Kind: ledger.KindBackfill, Status: ledger.StatusDue, Runs: 1}, {Kind: ledger.KindBackfill, Status: ledger.StatusFailed, Runs: 1}, {Kind: ledger.KindManual, Status: ledger.StatusSucceeded, Runs: 1}}, stats.Runs)
	assert.Equal(t, [2]int64{2, 1}, [2]int64{stats.FilesLoaded, stats.FilesFailed})
	assert.Equal(t, [5]int64{14, 11, 1, 1, 1}, [5]int64{stats.Read, stats.Loaded, stats.Duplicate, stats.Conflict, stats.Rejected})
	assert.Zero(t, stats.LastSuccess, "a run by hand is none of a night's")
	assert.Equal(t, int64(1), stats.Waiting)
	assert.InDelta(t, time.Hour.Seconds(), stats.WaitingAge.Seconds(), 60)
	w, err := s.readSchedule(t.Context(), clock.Now())
	require.NoError(t, err)
	require.True(t, w.started)
	assert.Equal(t, date(t, "2024-03-09"), w.date)
	require.NoError(t, s.CheckSchedule(t.Context(), 0))

	execute(t, pool, "INSERT INTO etl_attempts (run_id, attempt, worker, code_version) SELECT id, 1, '', '' FROM etl_runs WHERE logical_date = '2024-03-08'")
	execute(t, pool, "INSERT INTO etl_outcomes (run_id, attempt, status, finished_at) SELECT id, 1, 'succeeded', now() - interval '2 hours' FROM etl_runs WHERE logical_date = '2024-03-08'")
	stats, err = s.Ledger().Stats(t.Context())
	require.NoError(t, err)
	assert.InDelta(t, (2 * time.Hour).Seconds(), stats.LastSuccessAge.Seconds(), 60)
	assert.Zero(t, stats.Waiting)
	assert.Zero(t, stats.WaitingAge)

	clock.advance(24 * time.Hour)
	require.ErrorIs(t, s.CheckSchedule(t.Context(), time.Hour), ErrScheduleLate)
	assert.NoError(t, s.CheckSchedule(t.Context(), 13*time.Hour), "within the grace")
}

// A run asked for in one trace is worked on in the same.
func TestTraceGoesThroughTheQueue(t *testing.T) {
	t.Parallel()
	pool := newPool(t)
	spans := tracetest.NewSpanRecorder()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	s := newService(t, pool, Config{Clock: newFakeClock(moment(t, "2024-03-10T12:00:00Z")), Tracer: tracer, Loader: loads(), Sources: []pipeline.Source{newSource(t, rows(1))}})
	ctx, request := tracer.Tracer("test").Start(t.Context(), "POST /runs")
	on := date(t, "2024-03-08")
	run, err := s.Request(ctx, &on, "test", "")
	request.End()
	require.NoError(t, err)
	_, err = s.river.Insert(ctx, notifyArgs{"msg_1"}, nil)
	require.NoError(t, err)
	assert.True(t, slices.ContainsFunc(spans.Ended(), func(span sdktrace.ReadOnlySpan) bool { return span.Name() == "send notify" }), "the span of another queue")
	require.NoError(t, s.Start(t.Context()))
	require.Eventually(t, func() bool { return status(t, s, run.ID) == ledger.StatusSucceeded }, testdb.Patience, 10*time.Millisecond)
	var process sdktrace.ReadOnlySpan
	require.Eventually(t, func() bool {
		for _, span := range spans.Ended() {
			if span.Name() == "process etl_run" && span.SpanContext().TraceID() == request.SpanContext().TraceID() {
				process = span
			}
		}
		return process != nil
	}, testdb.Patience, 10*time.Millisecond, "an attempt in the trace of the request")
	for _, span := range spans.Ended() {
		if span.Name() == "send etl" && span.SpanContext().TraceID() == request.SpanContext().TraceID() {
			assert.Equal(t, request.SpanContext().SpanID(), span.Parent().SpanID())
			assert.Equal(t, span.SpanContext().SpanID(), process.Parent().SpanID())
			return
		}
	}
	t.Error("the insertion has no span")
}
