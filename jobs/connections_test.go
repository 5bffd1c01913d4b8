package jobs

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/migrations"
	"github.com/opentax/tally/pipeline/load"
)

// poolOf is a pool with so many connections.
func poolOf(t *testing.T, size int32) *pgxpool.Pool {
	t.Helper()
	pool, err := postgres.Open(t.Context(), postgres.Config{URL: testdb.URL(t, migrations.Schema{}), MaxConns: size})
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

// A tick, and whatever else is short, gets a connection while as many runs go on as can, and more
// wait: the smallest pool, and larger ones.
func TestRunsLeaveConnections(t *testing.T) {
	t.Parallel()
	for _, size := range []int32{Config{}.PoolConns(), Config{}.PoolConns() + 5, 16} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			testRunsLeaveConnections(t, poolOf(t, size))
		})
	}
}

func testRunsLeaveConnections(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	const requested = 40
	started, goOn := make(chan struct{}, requested), make(chan struct{})
	loader := fakeLoader{func(ctx context.Context, req load.Request) (load.Result, error) {
		for range 2 { // those that a load holds
			conn, err := pool.Acquire(ctx)
			if err != nil {
				return load.Result{}, err
			}
			defer conn.Release()
		}
		started <- struct{}{}
		<-goOn
		return loaded(req), nil
	}}
	s := newService(t, pool, Config{Loader: loader})
	var runs sync.WaitGroup
	running, stop := context.WithCancel(t.Context())
	release := sync.OnceFunc(func() { close(goOn); runs.Wait() })
	t.Cleanup(func() { stop(); release() })
	for i := range requested {
		path := filepath.Join(t.TempDir(), fmt.Sprint(i))
		runs.Go(func() {
			_, err := s.Run(running, RunRequest{Paths: []bucket.Location{bucket.Path(path)}})
			assert.NoError(t, err)
		})
	}
	for range (Config{}).runsAtOnce(pool.Config().MaxConns) {
		select {
		case <-started:
		case <-time.After(testdb.Patience):
			require.Fail(t, "runs do not start")
		}
	}
	time.Sleep(100 * time.Millisecond) // for others to take what they must not
	ctx, cancel := context.WithTimeout(t.Context(), testdb.Patience)
	defer cancel()
	_, err := s.tick(ctx, time.Now())
	require.NoError(t, err)
	assert.GreaterOrEqual(t, pool.Config().MaxConns-pool.Stat().AcquiredConns(), int32(shortConns))
	assert.Empty(t, started, "further runs wait")
	release()
}
