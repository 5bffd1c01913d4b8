package api

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/internal/reject"
	"github.com/opentax/tally/jobs/ledger"
)

func TestPartitionList(t *testing.T) {
	t.Parallel()
	at := time.Date(2024, 1, 2, 0, 0, 0, 0, time.UTC)
	h := newHandler(t, Config{Runs: fakeRuns{months: func(context.Context) ([]ledger.Partition, error) {
		return []ledger.Partition{{Month: "2024-01", Rows: 2, TotalAmount: money.MustParse("11.5"), Bytes: 8192, ChangedAt: &at, State: "stored", Sparse: true}}, nil
	}}})
	assert.Equal(t, `{"partitions":[{"month":"2024-01","rows":2,"total_amount":11.50,"bytes":8192,"changed_at":"2024-01-02T00:00:00Z","state":"stored","exported":false,"sparse":true}]}`+"\n",
		ask(h, http.MethodGet, "/partitions").Body.String())
}

func TestRetirePartitions(t *testing.T) {
	t.Parallel()
	at := time.Date(2024, 1, 2, 0, 0, 0, 0, time.UTC)
	var asked ledger.RetireRequest
	answer := ledger.Retirement{ID: 4, Before: "2020-01", Totals: "keep", Export: true, Reason: "law", RequestedBy: "anonymous", CreatedAt: at, Status: "queued", Created: true}
	var failed error
	h := newHandler(t, Config{
		Changes: fakeChanges{retire: func(_ context.Context, r ledger.RetireRequest) (ledger.Retirement, error) {
			asked = r
			return answer, failed
		}},
		Runs: fakeRuns{retired: func(_ context.Context, id int64) (ledger.Retirement, error) {
			if id != 4 {
				return ledger.Retirement{}, ledger.ErrRetirementNotFound
			}
			ended := answer
			ended.Status, ended.FinishedAt, ended.Result = "succeeded", at, &reject.RetireResult{Months: []reject.RetiredMonth{}}
			return ended, nil
		}},
	})
	const path, body = "/partitions/retire", `{"before":"2020-01","totals":"keep","export":true,"reason":"law"}`
	const queued = `{"id":4,"before":"2020-01","totals":"keep","export":true,"keep_tables":false,"dry_run":false,"reason":"law","requested_by":"anonymous","created_at":"2024-01-02T00:00:00Z","status":"queued"}`
	for _, status := range []int{http.StatusAccepted, http.StatusOK} {
		w := post(h, path, jsonContentType, body)
		assert.Equal(t, status, w.Code)
		assert.Equal(t, queued+"\n", w.Body.String())
		assert.Equal(t, "/partitions/retirements/4", w.Header().Get("Location"))
		answer.Created = false
	}
	assert.NotEmpty(t, asked.Origin)
	assert.Equal(t, ledger.RetireRequest{Before: civil.MustParse("2020-01-01").Month(), KeepTotals: true, Export: true, Origin: asked.Origin,
		By: audit.By{Actor: "anonymous", Reason: "law"}}, asked)
	assert.Equal(t, http.StatusOK, post(h, path, jsonContentType, `{"before":"2020-01","totals":"drop","dry_run":true}`).Code)
	assert.True(t, asked.DryRun)

	for _, wrong := range []string{
		`{"before":"2020-01","totals":"keep"}`, `{"before":"2020-01","totals":"keep","drop":true,"keep_tables":true}`, `{"before":"2020-01","drop":true}`,
		`{"before":"2020-13","totals":"keep","drop":true}`, `{"before":"0000-01","totals":"keep","drop":true}`, `{"totals":"keep","drop":true}`, `{"before":"2020-01","totals":"kept","drop":true}`,
	} {
		requireProblem(t, post(h, path, jsonContentType, wrong), http.StatusUnprocessableEntity, "invalid-request")
	}
	failed = ledger.ErrNoExport
	assert.Equal(t, "body.export", requireProblem(t, post(h, path, jsonContentType, body), http.StatusUnprocessableEntity, "invalid-request").Errors[0].Location)
	failed = ledger.ErrRetiring
	requireProblem(t, post(h, path, jsonContentType, body), http.StatusConflict, "retiring")

	assert.Contains(t, ask(h, http.MethodGet, "/partitions/retirements/4").Body.String(), `"status":"succeeded","finished_at":"2024-01-02T00:00:00Z","result":{"months":[],"rows":0,"total_amount":0.00}}`)
	requireProblem(t, ask(h, http.MethodGet, "/partitions/retirements/5"), http.StatusNotFound, "retirement-not-found")
}
