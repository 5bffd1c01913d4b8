package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/api/console"
	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/internal/reject"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/summaries"
)

// fakeSummaries answers with its functions; one that is missing panics.
type fakeSummaries struct {
	Summaries    // what has no function here panics
	get          func(context.Context, int32) (summaries.Summary, error)
	transactions func(context.Context, int32, summaries.Cursor, int) ([]summaries.Transaction, error)
	asOf         func(context.Context, int32, time.Time, summaries.Days) (summaries.Past, error)
}

func (f fakeSummaries) AsOf(ctx context.Context, userID int32, moment time.Time, days summaries.Days) (summaries.Past, error) {
	return f.asOf(ctx, userID, moment, days)
}

func (f fakeSummaries) Get(ctx context.Context, userID int32) (summaries.Summary, error) {
	return f.get(ctx, userID)
}

func (f fakeSummaries) Transactions(ctx context.Context, userID int32, after summaries.Cursor, limit int) ([]summaries.Transaction, error) {
	return f.transactions(ctx, userID, after, limit)
}

// fakeRuns answers with its functions; one that is missing panics.
type fakeRuns struct {
	request func(ctx context.Context, date *civil.Date, by, origin string) (ledger.Run, error)
	list    func(context.Context, int64, int) ([]ledger.Run, error)
	get     func(context.Context, int64) (ledger.Run, error)
	files   func(context.Context, int64, int64, int) ([]ledger.File, error)
	rejects func(context.Context, ledger.RejectQuery) ([]ledger.Reject, error)
	logs    func(context.Context, int64, int64, int) ([]ledger.LogLine, error)
	sources func(context.Context) ([]ledger.Source, error)
	alerts  func(context.Context, bool, int64, int) ([]ledger.Alert, error)
	history func(context.Context, string) (ledger.History, error)
	head    func(context.Context) (audit.Head, error)
	months  func(context.Context) ([]ledger.Partition, error)
	retired func(context.Context, int64) (ledger.Retirement, error)
}

func (f fakeRuns) Runs(ctx context.Context, before int64, limit int) ([]ledger.Run, error) {
	return f.list(ctx, before, limit)
}

func (f fakeRuns) requests(ctx context.Context, date *civil.Date, by, origin string) (ledger.Run, error) {
	return f.request(ctx, date, by, origin)
}

func (f fakeRuns) Run(ctx context.Context, id int64) (ledger.Run, error) { return f.get(ctx, id) }

func (f fakeRuns) Files(ctx context.Context, run, after int64, limit int) ([]ledger.File, error) {
	return f.files(ctx, run, after, limit)
}

func (f fakeRuns) Rejects(ctx context.Context, q ledger.RejectQuery) ([]ledger.Reject, error) {
	return f.rejects(ctx, q)
}

func (f fakeRuns) Sources(ctx context.Context) ([]ledger.Source, error) { return f.sources(ctx) }

func (f fakeRuns) History(ctx context.Context, id string) (ledger.History, error) {
	return f.history(ctx, id)
}

func (f fakeRuns) Retirement(ctx context.Context, id int64) (ledger.Retirement, error) {
	return f.retired(ctx, id)
}

func (f fakeRuns) Partitions(ctx context.Context) ([]ledger.Partition, error) { return f.months(ctx) }

func (f fakeRuns) Head(ctx context.Context) (audit.Head, error) { return f.head(ctx) }

func (f fakeRuns) Logs(ctx context.Context, run, after int64, limit int) ([]ledger.LogLine, error) {
	return f.logs(ctx, run, after, limit)
}

func (f fakeRuns) Alerts(ctx context.Context, afterOpen bool, afterID int64, limit int) ([]ledger.Alert, error) {
	return f.alerts(ctx, afterOpen, afterID, limit)
}

// fakeChanges answers with its functions; one that is missing panics.
type fakeChanges struct {
	rejects func(context.Context, ledger.RejectFilter) ([]ledger.ListedReject, error)
	replay  func(context.Context, ledger.ReplayRequest) (reject.ReplayResult, error)
	fix     func(context.Context, ledger.FixRequest) (ledger.ListedReject, error)
	settle  func(context.Context, reject.ID, bool, audit.By) (ledger.ListedReject, error)
	discard func(context.Context, reject.ID, audit.By) (ledger.ListedReject, error)
	revert  func(context.Context, ledger.RevertRequest) (reject.RevertResult, error)
	retire  func(context.Context, ledger.RetireRequest) (ledger.Retirement, error)
}

func (f fakeChanges) RequestRetirement(ctx context.Context, r ledger.RetireRequest) (ledger.Retirement, error) {
	return f.retire(ctx, r)
}

func (f fakeChanges) Rejects(ctx context.Context, filter ledger.RejectFilter) ([]ledger.ListedReject, error) {
	return f.rejects(ctx, filter)
}

func (f fakeChanges) Replay(ctx context.Context, r ledger.ReplayRequest) (reject.ReplayResult, error) {
	return f.replay(ctx, r)
}

func (f fakeChanges) Fix(ctx context.Context, r ledger.FixRequest) (ledger.ListedReject, error) {
	return f.fix(ctx, r)
}

func (f fakeChanges) Settle(ctx context.Context, id reject.ID, take bool, by audit.By) (ledger.ListedReject, error) {
	return f.settle(ctx, id, take, by)
}

func (f fakeChanges) Discard(ctx context.Context, id reject.ID, by audit.By) (ledger.ListedReject, error) {
	return f.discard(ctx, id, by)
}

func (f fakeChanges) Revert(ctx context.Context, r ledger.RevertRequest) (reject.RevertResult, error) {
	return f.revert(ctx, r)
}

// fakeProofs answers with its functions; one that is missing panics.
type fakeProofs struct {
	receipt func(context.Context, io.Writer, int32) error
	verify  func(context.Context, audit.Head) (audit.Verification, error)
}

func (f fakeProofs) Receipt(ctx context.Context, w io.Writer, userID int32) error {
	return f.receipt(ctx, w, userID)
}

func (f fakeProofs) VerifyChain(ctx context.Context, noted audit.Head) (audit.Verification, error) {
	return f.verify(ctx, noted)
}

func noReceipt(context.Context, io.Writer, int32) error { return console.ErrNoReceipt }

// contractSummary is the example of the contract.
func contractSummary(_ context.Context, userID int32) (summaries.Summary, error) {
	if userID != 123 {
		return summaries.Summary{}, summaries.ErrNotFound
	}
	return summaries.Summary{UserID: userID, Transactions: 50, Total: money.MustParse("10240.5")}, nil
}

// withSummaries is a config whose only store is get.
func withSummaries(get func(context.Context, int32) (summaries.Summary, error)) Config {
	return Config{Summaries: fakeSummaries{get: get}, Runs: fakeRuns{}, Request: fakeRuns{}.requests, Changes: fakeChanges{}, Proofs: fakeProofs{receipt: noReceipt}}
}

func newHandler(tb testing.TB, c Config) http.Handler {
	tb.Helper()
	if c.Summaries == nil {
		c.Summaries = fakeSummaries{get: contractSummary}
	}
	if c.Runs == nil {
		c.Runs = fakeRuns{}
	}
	if runs, ok := c.Runs.(fakeRuns); ok && c.Request == nil {
		c.Request = runs.requests
	}
	if c.Changes == nil {
		c.Changes = fakeChanges{}
	}
	if c.Proofs == nil {
		c.Proofs = fakeProofs{receipt: noReceipt}
	}
	h, err := New(c)
	require.NoError(tb, err)
	return h
}

// ask sends a request; headers are "Name: value".
func ask(h http.Handler, method, target string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// requireProblem compares a response with the form of every problem, and returns
// it.
func requireProblem(tb testing.TB, w *httptest.ResponseRecorder, status int, name string) Problem {
	tb.Helper()
	require.Equal(tb, status, w.Code, w.Body.String())
	assert.Equal(tb, "application/problem+json", w.Header().Get("Content-Type"))
	assert.Equal(tb, "no-store", w.Header().Get("Cache-Control"))
	var p Problem
	decoder := json.NewDecoder(bytes.NewReader(w.Body.Bytes()))
	decoder.DisallowUnknownFields()
	require.NoError(tb, decoder.Decode(&p))
	assert.Equal(tb, "/problems/"+name, p.Type)
	assert.Equal(tb, status, p.Status)
	assert.NotEmpty(tb, p.Title)
	assert.NotEmpty(tb, p.Detail)
	assert.Equal(tb, w.Header().Get("X-Request-Id"), p.RequestID)
	assert.NotEmpty(tb, p.RequestID)
	return p
}

// logBuffer is a log that tests read while handlers write to it.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func newLog() (*logBuffer, *slog.Logger) {
	var buf logBuffer
	return &buf, slog.New(slog.NewJSONHandler(&buf, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

func TestNewNamesTheWrongField(t *testing.T) {
	t.Parallel()
	full := Config{Summaries: fakeSummaries{}, Runs: fakeRuns{}, Request: fakeRuns{}.requests, Changes: fakeChanges{}, Proofs: fakeProofs{receipt: noReceipt}}
	for _, tc := range []struct {
		field  string
		change func(*Config)
	}{
		{"Summaries", func(c *Config) { c.Summaries = nil }},
		{"Runs", func(c *Config) { c.Runs = nil }},
		{"Request", func(c *Config) { c.Request = nil }},
		{"Changes", func(c *Config) { c.Changes = nil }},
		{"Proofs", func(c *Config) { c.Proofs = nil }},
		{"RequestTimeout", func(c *Config) { c.RequestTimeout = -1 }},
		{"Mounts", func(c *Config) { c.Mounts = map[string]http.Handler{"/": http.NotFoundHandler()} }},
		{"Mounts", func(c *Config) { c.Mounts = map[string]http.Handler{"/ui": http.NotFoundHandler()} }},
		{"Mounts", func(c *Config) { c.Mounts = map[string]http.Handler{"/ui/": nil} }},
	} {
		c := full
		tc.change(&c)
		_, err := New(c)
		assert.ErrorContains(t, err, "Config."+tc.field)
	}
	_, err := New(full)
	require.NoError(t, err)
}

func TestConcurrentRequests(t *testing.T) {
	t.Parallel()
	_, logger := newLog()
	h := newHandler(t, Config{Logger: logger})
	targets := map[string]int{
		"/transactions/123/summary": 200, "/transactions/9/summary": 404, "/transactions/x/summary": 422,
		"/openapi.json": 200, "/openapi-3.0.yaml": 200, "/docs": 200, "/nowhere": 404, "/livez": 200,
	}
	var wg sync.WaitGroup
	for range 8 {
		for target, status := range targets {
			wg.Go(func() {
				for range 20 {
					w := ask(h, http.MethodGet, target)
					assert.Equal(t, status, w.Code, target)
				}
			})
		}
	}
	wg.Wait()
}
