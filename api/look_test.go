package api

import (
	"context"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/opentax/tally/jobs/ledger"
)

// A thousand probes at once are one look at the database, and so are those of the second after it.
func TestProbesShareALook(t *testing.T) {
	t.Parallel()
	var ready, figures atomic.Int64
	h := newHandler(t, Config{
		Ready: func(context.Context) error { ready.Add(1); time.Sleep(50 * time.Millisecond); return nil },
		Figures: Figures{Ledger: func(context.Context) (ledger.Stats, error) {
			figures.Add(1)
			return ledger.Stats{}, nil
		}},
	})
	var probes sync.WaitGroup
	began := time.Now()
	for range 1000 {
		probes.Go(func() { assert.Equal(t, http.StatusOK, ask(h, http.MethodGet, "/readyz").Code) })
		probes.Go(func() { ask(h, http.MethodGet, "/metrics") })
	}
	probes.Wait()
	most := int64(time.Since(began)/lookAge) + 1 // the machine may be slow
	assert.LessOrEqual(t, ready.Load(), most)
	assert.LessOrEqual(t, figures.Load(), most)
}

// What was seen a second ago is not served: the next probe looks again.
func TestLookIsNotOld(t *testing.T) {
	t.Parallel()
	var failure atomic.Pointer[error]
	h := newHandler(t, Config{Ready: func(context.Context) error {
		if err := failure.Load(); err != nil {
			return *err
		}
		return nil
	}})
	assert.Equal(t, http.StatusOK, ask(h, http.MethodGet, "/readyz").Code)
	lost := NotReady("database", nil)
	failure.Store(&lost)
	time.Sleep(lookAge)
	assert.Equal(t, http.StatusServiceUnavailable, ask(h, http.MethodGet, "/readyz").Code)
}

// A database that hangs costs one goroutine, and probes get 503 in bounded time, later ones at once.
func TestHangingLook(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	var looks atomic.Int64
	l := look[int]{limit: 200 * time.Millisecond, read: func(context.Context) (int, error) { looks.Add(1); <-hang; return 1, nil }}
	before := runtime.NumGoroutine()
	var probes sync.WaitGroup
	began := time.Now()
	for range 1000 {
		probes.Go(func() {
			_, err := l.get(t.Context())
			assert.ErrorIs(t, err, errSlowLook)
		})
	}
	probes.Wait()
	assert.Less(t, time.Since(began), 2*time.Second)
	_, err := l.get(t.Context())
	assert.ErrorIs(t, err, errSlowLook)
	assert.Equal(t, int64(1), looks.Load())
	assert.Less(t, runtime.NumGoroutine(), before+500, "of this and of tests beside it")
}

func TestReadyTimesOut(t *testing.T) {
	t.Parallel()
	h := newHandler(t, Config{Ready: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }})
	began := time.Now()
	p := requireProblem(t, ask(h, http.MethodGet, "/readyz"), http.StatusServiceUnavailable, "not-ready")
	assert.Equal(t, []string{"database"}, p.NotReady)
	assert.Less(t, time.Since(began), 2*readyTimeout)
}
