package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/api/console"
	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/internal/reject"
	"github.com/opentax/tally/jobs/ledger"
)

func listed(line int64) ledger.ListedReject {
	return ledger.ListedReject{
		ID: fmt.Sprintf("3:%d", line), FileID: 3, Line: line, Path: "a.csv", Source: "inbox", LogicalDate: civil.MustParse("2024-01-31"),
		Outcome: "rejected", State: "open", Faults: []string{"missing_amount"}, Raw: "=1,2", RawLength: 4, Hints: []string{},
		Cell: &ledger.FaultyCell{Column: "amount"},
	}
}

// listedChanges lists rejects 2 to 11 of file 3.
func listedChanges(seen *ledger.RejectFilter) fakeChanges {
	return fakeChanges{rejects: func(_ context.Context, f ledger.RejectFilter) (rows []ledger.ListedReject, _ error) {
		*seen = f
		for line := max(2, f.After.Line+1); line < 12 && len(rows) < f.Limit; line++ {
			rows = append(rows, listed(line))
		}
		return rows, nil
	}}
}

func TestListAllRejects(t *testing.T) {
	t.Parallel()
	var seen ledger.RejectFilter
	h := newHandler(t, Config{Changes: listedChanges(&seen)})
	target, lines := "/rejects?limit=4&fault=missing_amount&source=inbox&date=2024-01-31&file_id=3&outcome=rejected", []int64{}
	for target != "" {
		w := ask(h, http.MethodGet, target)
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		var page Page[ledger.ListedReject]
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &page))
		for _, r := range page.Items {
			lines = append(lines, r.Line)
		}
		target, _, _ = strings.Cut(strings.TrimPrefix(w.Header().Get("Link"), "<"), ">")
	}
	assert.Equal(t, []int64{2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, lines)
	day := civil.MustParse("2024-01-31")
	assert.Equal(t, ledger.RejectFilter{FileID: 3, Fault: "missing_amount", Source: "inbox", Date: &day, State: "open", Outcome: "rejected",
		After: reject.ID{FileID: 3, Line: 9}, Limit: 5}, seen)
	for _, query := range []string{"state=gone", "file_id=0", "fault=A", "date=2024-02-30", "outcome=loaded", "cursor=x", "source="} {
		requireProblem(t, ask(h, http.MethodGet, "/rejects?"+query), http.StatusUnprocessableEntity, "invalid-request")
	}
}

// CSV is for those who ask for it, and errors are problems all the same.
func TestListAllRejectsAsCSV(t *testing.T) {
	t.Parallel()
	var seen ledger.RejectFilter
	h := newHandler(t, Config{Changes: listedChanges(&seen)})
	for accept, csv := range map[string]bool{
		"text/csv": true, "text/csv, */*": true, "text/*": true, "text/csv;q=0.5, text/html": true,
		"application/json": false, "*/*": false, "text/csv;q=0, */*": false, "application/json, text/csv": false,
	} {
		w := ask(h, http.MethodGet, "/rejects?limit=2", "Accept: "+accept)
		require.Equal(t, http.StatusOK, w.Code, accept)
		assert.Equal(t, csv, w.Header().Get("Content-Type") == "text/csv", accept)
		assert.Equal(t, csv, strings.HasPrefix(w.Body.String(), ledger.CSVHead), accept)
		assert.NotEmpty(t, w.Header().Get("Link"))
		if csv {
			assert.Contains(t, w.Body.String(), `,"'=1,2",`, "no formula")
		}
	}
	requireProblem(t, ask(h, http.MethodGet, "/rejects?state=gone", "Accept: text/csv"), http.StatusUnprocessableEntity, "invalid-request")
	requireProblem(t, ask(h, http.MethodGet, "/rejects?cursor=x", "Accept: text/csv"), http.StatusUnprocessableEntity, "invalid-request")
	requireProblem(t, ask(h, http.MethodGet, "/runs", "Accept: text/csv"), http.StatusNotAcceptable, "not-acceptable")
	requireProblem(t, post(h, "/rejects/replay", "text/csv", "{}"), http.StatusUnsupportedMediaType, "unsupported-media-type")
}

func TestChanges(t *testing.T) {
	t.Parallel()
	id := reject.ID{FileID: 3, Line: 42}
	by := audit.By{Actor: "anonymous", Reason: "so"}
	h := newHandler(t, Config{Changes: fakeChanges{
		replay: func(_ context.Context, r ledger.ReplayRequest) (reject.ReplayResult, error) {
			assert.Equal(t, console.MaxChange, r.MaxRows)
			return reject.ReplayResult{Read: int64(len(r.IDs)), Loaded: int64(len(r.IDs)), Warnings: []string{fmt.Sprint(r.Filter.Fault, r.DryRun)}}, nil
		},
		fix: func(_ context.Context, r ledger.FixRequest) (ledger.ListedReject, error) {
			assert.Equal(t, ledger.FixRequest{ID: id, UserID: "7", Amount: "-1.5", By: by}, r)
			return listed(42), nil
		},
		settle: func(_ context.Context, got reject.ID, take bool, _ audit.By) (ledger.ListedReject, error) {
			assert.Equal(t, id, got)
			assert.True(t, take)
			return listed(42), nil
		},
		discard: func(_ context.Context, _ reject.ID, got audit.By) (ledger.ListedReject, error) {
			assert.Equal(t, by, got)
			return listed(42), nil
		},
		revert: func(_ context.Context, r ledger.RevertRequest) (reject.RevertResult, error) {
			assert.Equal(t, console.MaxChange, r.MaxRows)
			assert.Equal(t, "anonymous", r.By.Actor)
			if r.RunID == 0 {
				assert.Equal(t, []int64{3}, r.Files)
			} else {
				assert.Equal(t, ledger.RevertRequest{RunID: 4, DryRun: r.DryRun, MaxRows: console.MaxChange, By: by}, r)
			}
			return reject.RevertResult{Rows: 2, TotalAmount: money.MustParse("6"), Warnings: []string{fmt.Sprint(r.DryRun)}}, nil
		},
	}})
	reject, err := json.Marshal(listed(42))
	require.NoError(t, err)
	for _, c := range []struct{ target, body, want string }{
		{"/rejects/replay", `{"ids":["3:42","3:43"]}`, `{"read":2,"loaded":2,"duplicate":0,"conflict":0,"rejected":0,"warnings":["false"]}`},
		{"/rejects/replay", `{"fault":"x","dry_run":true}`, `{"read":0,"loaded":0,"duplicate":0,"conflict":0,"rejected":0,"warnings":["xtrue"]}`},
		{"/rejects/3:42/fix", `{"user_id":7,"amount":"-1.5","reason":"so"}`, string(reject)},
		{"/rejects/3:42/settle", `{"decision":"take"}`, string(reject)},
		{"/rejects/3:42/discard", `{"reason":"so"}`, string(reject)},
		{"/files/3/revert", `{"dry_run":true}`, `{"rows":2,"restored":0,"replayed":0,"users":0,"total_amount":6.00,"change":0.00,"warnings":["true"]}`},
		{"/runs/4/revert", `{"dry_run":true,"reason":"so"}`, `{"rows":2,"restored":0,"replayed":0,"users":0,"total_amount":6.00,"change":0.00,"warnings":["true"]}`},
		{"/files/3/revert", ``, `{"rows":2,"restored":0,"replayed":0,"users":0,"total_amount":6.00,"change":0.00,"warnings":["false"]}`},
	} {
		w := post(h, c.target, jsonContentType, c.body)
		assert.Equal(t, http.StatusOK, w.Code, "%s %s", c.target, w.Body)
		assert.JSONEq(t, c.want, w.Body.String(), c.target)
	}
	for _, c := range [][2]string{
		{"/rejects/replay", `{"ids":[]}`}, {"/rejects/replay", `{"ids":["3"]}`}, {"/rejects/replay", `{"ids":["3:42"],"fault":"x"}`},
		{"/rejects/replay", `{"date":"2024-02-30"}`}, {"/rejects/replay", ``}, {"/rejects/3/fix", `{"amount":"1","reason":"so"}`},
		{"/rejects/3:042/fix", `{"amount":"1","reason":"so"}`}, {"/rejects/3:42/fix", `{"reason":"so"}`}, {"/rejects/3:42/fix", `{"amount":"1"}`},
		{"/rejects/3:42/fix", `{"amount":"1e5","reason":"so"}`}, {"/rejects/3:42/settle", `{"decision":"drop"}`}, {"/files/0/revert", `{}`}, {"/runs/0/revert", `{}`},
	} {
		w := post(h, c[0], jsonContentType, c[1])
		assert.Contains(t, []int{http.StatusUnprocessableEntity, http.StatusBadRequest}, w.Code, "%s %s: %s", c[0], c[1], w.Body)
	}
}

func TestChangesThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err    error
		status int
		name   string
	}{
		{fmt.Errorf("reject: %w", ledger.ErrRejectNotFound), http.StatusNotFound, "reject-not-found"},
		{fmt.Errorf("file: %w", ledger.ErrFileNotFound), http.StatusNotFound, "file-not-found"},
		{&ledger.NotOpenError{What: "reject 3:42", Why: "is not open: it was replayed"}, http.StatusConflict, "not-open"},
		{&ledger.StillRejectedError{Faults: []string{"missing_date"}}, http.StatusConflict, "still-rejected"},
		{&ledger.TooManyError{Max: console.MaxChange}, http.StatusConflict, "too-many-rows"},
		{fmt.Errorf("%w: 1.23456", ledger.ErrInvalidFix), http.StatusUnprocessableEntity, "invalid-request"},
	} {
		h := newHandler(t, Config{Changes: fakeChanges{discard: func(context.Context, reject.ID, audit.By) (ledger.ListedReject, error) {
			return ledger.ListedReject{}, fmt.Errorf("discard: %w", c.err)
		}}})
		p := requireProblem(t, post(h, "/rejects/3:42/discard", jsonContentType, `{"reason":"so"}`), c.status, c.name)
		assert.NotContains(t, p.Detail, "3:42")
	}
}
