package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/jobs/ledger"
)

// oneRun is a ledger in which only run 7 exists.
func oneRun(_ context.Context, id int64) (ledger.Run, error) {
	if id != 7 {
		return ledger.Run{}, fmt.Errorf("run: %w", ledger.ErrRunNotFound)
	}
	return ledger.Run{
		ID: 7, Kind: "nightly", LogicalDate: civil.MustParse("2024-01-31"), RequestedBy: "schedule", Paths: []string{},
		CreatedAt: time.Date(2024, 2, 1, 0, 0, 0, 0, time.UTC), Status: "due",
	}, nil
}

func TestGetRun(t *testing.T) {
	t.Parallel()
	h := newHandler(t, Config{Runs: fakeRuns{get: oneRun}})
	w := ask(h, http.MethodGet, "/runs/7")
	assert.Equal(t, `{"id":7,"kind":"nightly","logical_date":"2024-01-31","requested_by":"schedule","paths":[],`+
		`"created_at":"2024-02-01T00:00:00Z","status":"due","attempt":0}`+"\n", w.Body.String())

	for _, id := range []string{"8", "9223372036854775807"} {
		requireProblem(t, ask(h, http.MethodGet, "/runs/"+id), http.StatusNotFound, "run-not-found")
	}
	for _, id := range []string{"0", "-7", "07", "+7", "seven", "9223372036854775808", "7.0"} {
		for _, list := range []string{"", "/files", "/rejects", "/logs"} {
			p := requireProblem(t, ask(h, http.MethodGet, "/runs/"+id+list), http.StatusUnprocessableEntity, "invalid-request")
			assert.Equal(t, []ProblemError{{"path.id", "must be a 64-bit integer of at least 1 in decimal digits"}}, p.Errors)
		}
	}
}

func TestListRuns(t *testing.T) {
	t.Parallel()
	h := newHandler(t, Config{Runs: fakeRuns{list: func(_ context.Context, before int64, limit int) ([]ledger.Run, error) {
		var out []ledger.Run
		for id := int64(10); id >= 1 && len(out) < limit; id-- {
			if before == 0 || id < before {
				out = append(out, ledger.Run{ID: id, Paths: []string{"a.csv"}})
			}
		}
		return out, nil
	}}})
	var ids []float64
	for target := "/runs?limit=3"; target != ""; {
		w := ask(h, http.MethodGet, target)
		for _, item := range readPage(t, w).Items {
			ids = append(ids, item["id"].(float64))
		}
		target = nextLink(t, w)
	}
	assert.Equal(t, []float64{10, 9, 8, 7, 6, 5, 4, 3, 2, 1}, ids)
}

func TestListRunsEmpty(t *testing.T) {
	t.Parallel()
	h := newHandler(t, Config{Runs: fakeRuns{list: func(context.Context, int64, int) ([]ledger.Run, error) { return nil, nil }}})
	assert.Equal(t, `{"items":[]}`+"\n", ask(h, http.MethodGet, "/runs").Body.String())
}

func TestRunListsOfNoRun(t *testing.T) {
	t.Parallel()
	h := newHandler(t, Config{Runs: fakeRuns{
		get:     oneRun,
		files:   func(context.Context, int64, int64, int) ([]ledger.File, error) { return nil, nil },
		rejects: func(context.Context, ledger.RejectQuery) ([]ledger.Reject, error) { return nil, nil },
		logs:    func(context.Context, int64, int64, int) ([]ledger.LogLine, error) { return nil, nil },
	}})
	for _, list := range []string{"files", "rejects", "logs"} {
		assert.Empty(t, readPage(t, ask(h, http.MethodGet, "/runs/7/"+list)).Items)
		requireProblem(t, ask(h, http.MethodGet, "/runs/8/"+list), http.StatusNotFound, "run-not-found")
	}
}

func TestListFiles(t *testing.T) {
	t.Parallel()
	at := time.Date(2024, 2, 1, 0, 0, 1, 500, time.UTC)
	h := newHandler(t, Config{Runs: fakeRuns{files: func(_ context.Context, run, after int64, limit int) ([]ledger.File, error) {
		assert.EqualValues(t, 7, run)
		return []ledger.File{{
			ID: after + 1, RunID: run, Attempt: 2, Source: "inbox", Path: "inbox/a.csv", SHA256: strings.Repeat("ab", 32), Bytes: 10,
			Status: "loaded", Read: 3, Loaded: 1, Duplicate: 1, Rejected: 1, Faults: map[string]int64{"missing_amount": 1},
			TotalAmount: money.MustParse("526098.26"), Rules: json.RawMessage(`{"slash":"mdy"}`), CodeVersion: "v", Reading: 2,
			Conventions: json.RawMessage(`{}`), Hints: []string{"slash: …"}, Warnings: []string{}, StartedAt: at, FinishedAt: at,
		}, {ID: after + 2, Rules: json.RawMessage("{}"), Conventions: json.RawMessage("{}")}}[:min(limit, 2)], nil
	}}})
	w := ask(h, http.MethodGet, "/runs/7/files?limit=1")
	p := readPage(t, w)
	assert.Contains(t, w.Body.String(), `{"items":[{"id":1,"run_id":7,"attempt":2,"source":"inbox","path":"inbox/a.csv","sha256":"`+strings.Repeat("ab", 32)+
		`","bytes":10,"status":"loaded","read":3,"loaded":1,"duplicate":1,"conflict":0,"rejected":1,"replaced":0,"faults":{"missing_amount":1},`+
		`"total_amount":526098.26,"rules":{"slash":"mdy"},"code_version":"v","reading":2,"conventions":{},"hints":["slash: …"],"warnings":[],"started_at":"2024-02-01T00:00:01.0000005Z","finished_at":"2024-02-01T00:00:01.0000005Z"}],`)
	require.NotEmpty(t, p.NextCursor)
	p = readPage(t, ask(h, http.MethodGet, nextLink(t, w)))
	assert.EqualValues(t, 2, p.Items[0]["id"])
}

// rejectsOf answers as the ledger does: n rows of a size, in two files.
func rejectsOf(n int, raw string) func(context.Context, ledger.RejectQuery) ([]ledger.Reject, error) {
	return func(_ context.Context, q ledger.RejectQuery) ([]ledger.Reject, error) {
		var out []ledger.Reject
		for i := range n {
			r := ledger.Reject{FileID: int64(1 + i/(n/2+1)), Line: int64(2 + i), Outcome: "rejected", Faults: []string{"missing_date"}, Hints: []string{}, Raw: raw, RawLength: int64(len(raw))}
			if i%3 == 0 {
				r.Outcome, r.Faults = "duplicate", []string{}
			}
			ahead := r.FileID > q.AfterFile || (r.FileID == q.AfterFile && r.Line > q.AfterLine)
			if ahead && (q.Outcome == "" || q.Outcome == r.Outcome) && len(out) < q.Limit {
				out = append(out, r)
			}
		}
		return out, nil
	}
}

func TestListSources(t *testing.T) {
	t.Parallel()
	h := newHandler(t, Config{Runs: fakeRuns{sources: func(context.Context) ([]ledger.Source, error) {
		return []ledger.Source{{Name: "inbox", Settings: json.RawMessage(`{"decimal":"comma"}`), LastFileID: 3, LastPath: "b.csv", LastAt: time.Unix(0, 0).UTC(),
			Conventions: []ledger.Convention{{Convention: "slash", Value: "dmy", FileID: 1, Path: "a.csv", Line: 7}}}}, nil
	}}})
	assert.Equal(t, `{"items":[{"name":"inbox","settings":{"decimal":"comma"},"last_file_id":3,"last_path":"b.csv","last_at":"1970-01-01T00:00:00Z",`+
		`"conventions":[{"convention":"slash","value":"dmy","file_id":1,"path":"a.csv","line":7}]}]}`+"\n", ask(h, http.MethodGet, "/sources").Body.String())
}

// Pages continue after the state and the id of an alert.
func TestListAlerts(t *testing.T) {
	t.Parallel()
	var asked []string
	day := time.Unix(0, 0).UTC()
	h := newHandler(t, Config{Runs: fakeRuns{alerts: func(_ context.Context, afterOpen bool, afterID int64, limit int) ([]ledger.Alert, error) {
		asked = append(asked, fmt.Sprint(afterOpen, afterID))
		rest := []ledger.Alert{
			{ID: 9, Cause: "file.failed", Subject: "a.csv", What: "empty", NextStep: "send it", RunID: 7, Path: "a.csv", OpenedAt: day},
			{ID: 12, Cause: "run.late", OpenedAt: day, ClosedAt: day}, {ID: 3, OpenedAt: day, ClosedAt: day},
		}[len(asked)-1:]
		return rest[:min(limit, len(rest))], nil
	}}})
	w := ask(h, http.MethodGet, "/alerts?limit=1")
	assert.Contains(t, w.Body.String(), `{"items":[{"id":9,"cause":"file.failed","subject":"a.csv","what":"empty","next_step":"send it","run_id":7,`+
		`"logical_date":"1970-01-01","path":"a.csv","opened_at":"1970-01-01T00:00:00Z"}],"next_cursor":"`)
	for target := nextLink(t, w); target != ""; {
		target = nextLink(t, ask(h, http.MethodGet, target))
	}
	assert.Equal(t, []string{"true 0", "true 9", "false 12"}, asked)
}

func TestListRejects(t *testing.T) {
	t.Parallel()
	h := newHandler(t, Config{Runs: fakeRuns{rejects: rejectsOf(450, "a,b")}})
	for _, limit := range []int{1, 100, 101, 150, 449, 450, 451, 1000} {
		var lines []float64
		for target := fmt.Sprintf("/runs/7/rejects?limit=%d", limit); target != ""; {
			w := ask(h, http.MethodGet, target)
			p := readPage(t, w)
			require.LessOrEqual(t, len(p.Items), limit)
			for _, item := range p.Items {
				lines = append(lines, item["line"].(float64))
			}
			target = nextLink(t, w)
		}
		require.Len(t, lines, 450, limit)
		assert.IsIncreasing(t, lines)
	}
	w := ask(h, http.MethodGet, "/runs/7/rejects?limit=1")
	assert.Contains(t, w.Body.String(), `{"items":[{"file_id":1,"line":2,"outcome":"duplicate","faults":[],"raw":"a,b","hints":[],"raw_length":3}],"next_cursor":"`)
}

func TestListRejectsByOutcome(t *testing.T) {
	t.Parallel()
	h := newHandler(t, Config{Runs: fakeRuns{rejects: rejectsOf(30, "a,b")}})
	w := ask(h, http.MethodGet, "/runs/7/rejects?outcome=duplicate&limit=6")
	p := readPage(t, w)
	require.Len(t, p.Items, 6)
	next := nextLink(t, w)
	assert.Contains(t, next, "outcome=duplicate")
	assert.Len(t, readPage(t, ask(h, http.MethodGet, next)).Items, 4)
	requireProblem(t, ask(h, http.MethodGet, "/runs/7/rejects?outcome=conflict&cursor="+p.NextCursor), http.StatusUnprocessableEntity, "invalid-request")

	problem := requireProblem(t, ask(h, http.MethodGet, "/runs/7/rejects?outcome=loaded"), http.StatusUnprocessableEntity, "invalid-request")
	assert.Equal(t, []ProblemError{{"query.outcome", "must be one of rejected, duplicate, conflict"}}, problem.Errors)
}

func TestListRejectsIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	const rows = 200
	h := newHandler(t, Config{Runs: fakeRuns{rejects: rejectsOf(rows, strings.Repeat("x", 64<<10))}})
	total, pages := 0, 0
	for target := "/runs/7/rejects?limit=1000"; target != ""; pages++ {
		w := ask(h, http.MethodGet, target)
		assert.Less(t, w.Body.Len(), maxRejectBytes+(1<<20))
		total += len(readPage(t, w).Items)
		target = nextLink(t, w)
	}
	assert.Equal(t, rows, total)
	assert.Equal(t, 4, pages)
}

func TestLogsCanBePolled(t *testing.T) {
	t.Parallel()
	var lines []ledger.LogLine
	h := newHandler(t, Config{Runs: fakeRuns{get: oneRun, logs: func(_ context.Context, _, after int64, limit int) ([]ledger.LogLine, error) {
		var out []ledger.LogLine
		for _, l := range lines {
			if l.ID > after && len(out) < limit {
				out = append(out, l)
			}
		}
		return out, nil
	}}})
	write := func(n int) {
		for range n {
			lines = append(lines, ledger.LogLine{ID: int64(len(lines) + 1), Attempt: 1, Level: "INFO", Message: "m", Attrs: json.RawMessage(`{"rows":10}`)})
		}
	}
	target := "/runs/7/logs?limit=2"
	poll := func() (ids []float64) {
		w := ask(h, http.MethodGet, target)
		p := readPage(t, w)
		require.NotEmpty(t, p.NextCursor)
		target = nextLink(t, w)
		for _, item := range p.Items {
			ids = append(ids, item["id"].(float64))
		}
		return ids
	}
	assert.Empty(t, poll())
	write(3)
	assert.Equal(t, []float64{1, 2}, poll())
	assert.Equal(t, []float64{3}, poll())
	assert.Empty(t, poll())
	assert.Empty(t, poll())
	write(1)
	assert.Equal(t, []float64{4}, poll())
}
