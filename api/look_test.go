package api

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/opentax/tally/jobs/ledger"
)

// A hundred probes at once are one look at the database, and so are those of the second after it.
func TestProbesShareALook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var ready, figures atomic.Int64
		h := newHandler(t, Config{
			Ready: func(context.Context) error { ready.Add(1); time.Sleep(lookAge / 2); return nil },
			Figures: Figures{Ledger: func(context.Context) (ledger.Stats, error) {
				figures.Add(1)
				return ledger.Stats{}, nil
			}},
		})
		for range 2 {
			var probes sync.WaitGroup
			for range 100 {
				probes.Go(func() { assert.Equal(t, http.StatusOK, ask(h, http.MethodGet, "/readyz").Code) })
				probes.Go(func() { ask(h, http.MethodGet, "/metrics") })
			}
			probes.Wait()
		}
		assert.Equal(t, int64(1), ready.Load())
		assert.Equal(t, int64(1), figures.Load())
	})
}

// What was seen a second ago is not served: the next probe looks again.
func TestLookIsNotOld(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var failure error
		h := newHandler(t, Config{Ready: func(context.Context) error { return failure }})
		assert.Equal(t, http.StatusOK, ask(h, http.MethodGet, "/readyz").Code)
		failure = NotReady("database", nil)
		time.Sleep(lookAge - time.Millisecond)
		assert.Equal(t, http.StatusOK, ask(h, http.MethodGet, "/readyz").Code)
		time.Sleep(time.Millisecond)
		assert.Equal(t, http.StatusServiceUnavailable, ask(h, http.MethodGet, "/readyz").Code)
	})
}

// A database that hangs costs one look, and probes get 503 in bounded time, later ones at once.
func TestHangingLook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const limit = 200 * time.Millisecond
		hang := make(chan struct{})
		defer close(hang)
		var looks atomic.Int64
		l := look[int]{limit: limit, read: func(context.Context) (int, error) { looks.Add(1); <-hang; return 1, nil }}
		began := time.Now()
		var probes sync.WaitGroup
		for range 1000 {
			probes.Go(func() {
				_, err := l.get(t.Context())
				assert.ErrorIs(t, err, errSlowLook)
			})
		}
		probes.Wait()
		assert.Equal(t, limit, time.Since(began))
		time.Sleep(2 * lookAge)
		began = time.Now()
		_, err := l.get(t.Context())
		assert.ErrorIs(t, err, errSlowLook)
		assert.Zero(t, time.Since(began))
		assert.Equal(t, int64(1), looks.Load())
	})
}

func TestReadyTimesOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, Config{Ready: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }})
		began := time.Now()
		p := requireProblem(t, ask(h, http.MethodGet, "/readyz"), http.StatusServiceUnavailable, "not-ready")
		assert.Equal(t, []string{"database"}, p.NotReady)
		assert.Equal(t, readyTimeout, time.Since(began))
	})
}
