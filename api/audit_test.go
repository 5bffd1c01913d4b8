package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/audit"
)

func TestAuditHead(t *testing.T) {
	t.Parallel()
	h := newHandler(t, Config{Runs: fakeRuns{head: func(context.Context) (audit.Head, error) {
		return audit.Head{Number: 3, Hash: "0f", At: time.Date(2024, 1, 2, 0, 0, 0, 0, time.UTC)}, nil
	}}})
	assert.Equal(t, `{"number":3,"hash":"0f","at":"2024-01-02T00:00:00Z"}`+"\n", ask(h, http.MethodGet, "/audit/head").Body.String())
}

// A verification serves all until the next entry, one is made at a time, and a slow one is there
// for those who come again.
func TestVerifyAudit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var took time.Duration
		var failed error
		var number atomic.Int64
		var calls, running atomic.Int32
		number.Store(3)
		h := newHandler(t, Config{
			Runs: fakeRuns{head: func(context.Context) (audit.Head, error) { return audit.Head{Number: number.Load()}, nil }},
			Proofs: fakeProofs{verify: func(_ context.Context, noted audit.Head) (audit.Verification, error) {
				assert.EqualValues(t, 1, running.Add(1), "one at a time")
				defer running.Add(-1)
				calls.Add(1)
				v := audit.Verification{Head: audit.Head{Number: number.Load()}, Entries: number.Load(), At: time.Now().UTC()}
				time.Sleep(took)
				if noted.Number > v.Entries {
					v.Broken = &audit.Fault{Number: noted.Number, Reason: "cut off"}
				}
				return v, failed
			}},
		})
		const path = "/audit/verify"
		want := func(times int, body, path string) {
			t.Helper()
			w := ask(h, http.MethodGet, path)
			require.Equal(t, http.StatusOK, w.Code, w.Body)
			assert.Equal(t, body+"\n", w.Body.String())
			assert.EqualValues(t, times, calls.Load())
		}
		turnedAway := func() {
			t.Helper()
			w := ask(h, http.MethodGet, path)
			requireProblem(t, w, http.StatusServiceUnavailable, "verifying")
			assert.NotEmpty(t, w.Header().Get("Retry-After"))
		}
		const third = `{"head":{"number":3,"hash":""},"entries":3,"verified_at":"2000-01-01T00:00:00Z"}`
		want(1, third, path)
		want(1, third, path)
		noted := path + "?head=4:" + strings.Repeat("0f", 32)
		want(2, strings.TrimSuffix(third, "}")+`,"broken":{"number":4,"reason":"cut off"}}`, noted)
		want(2, third, path)
		number.Store(4)
		want(3, `{"head":{"number":4,"hash":""},"entries":4,"verified_at":"2000-01-01T00:00:00Z"}`, path)
		time.Sleep(verifiedAge)
		want(4, `{"head":{"number":4,"hash":""},"entries":4,"verified_at":"2000-01-01T00:10:00Z"}`, path)

		number.Store(5)
		took = 12 * time.Second
		turnedAway() // after 5 s
		number.Store(6)
		turnedAway() // after 10 s
		const fifth = `{"head":{"number":5,"hash":""},"entries":5,"verified_at":"2000-01-01T00:10:00Z"}`
		want(5, fifth, path)
		want(5, fifth, path)
		time.Sleep(awaitedAge)
		took = time.Second
		want(6, `{"head":{"number":6,"hash":""},"entries":6,"verified_at":"2000-01-01T00:10:42Z"}`, path)

		number.Store(7)
		failed = errors.New("no more")
		requireProblem(t, ask(h, http.MethodGet, path), http.StatusInternalServerError, "internal-error")
		failed = nil
		want(8, `{"head":{"number":7,"hash":""},"entries":7,"verified_at":"2000-01-01T00:10:44Z"}`, path)
		for _, query := range []string{"?head=", "?head=4", "?head=04:" + strings.Repeat("0f", 32), "?head=4:x"} {
			requireProblem(t, ask(h, http.MethodGet, path+query), http.StatusUnprocessableEntity, "invalid-request")
		}
	})
}

// A panic of a verification is an answer, and not the end of the process.
func TestVerifyAuditPanics(t *testing.T) {
	t.Parallel()
	h := newHandler(t, Config{Runs: fakeRuns{head: func(context.Context) (audit.Head, error) { return audit.Head{}, nil }}, Proofs: fakeProofs{}})
	for range 2 {
		requireProblem(t, ask(h, http.MethodGet, "/audit/verify"), http.StatusInternalServerError, "internal-error")
	}
}
