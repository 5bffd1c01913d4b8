package jobs

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/load"
	"github.com/opentax/tally/summaries"
)

// A worker of a cluster is lost at a stage of a load, for more attempts than a file has: the run is
// retried until it is back, and each row is stored once.
func TestNodeIsLost(t *testing.T) {
	t.Parallel()
	needsCluster(t)
	for _, stage := range []string{pipeline.StageRead, pipeline.StageKeys, pipeline.StageWrite, pipeline.StageCommit} {
		t.Run(stage, func(t *testing.T) {
			t.Parallel()
			pool := newPool(t)
			var found func() error
			real := load.New(pool, nil)
			loader := fakeLoader{func(ctx context.Context, req load.Request) (load.Result, error) {
				req.Progress = func(p pipeline.Progress) {
					if found == nil && p.Stage == stage && strings.HasSuffix(p.Path, "b.csv") {
						var err error
						found, err = testdb.LoseNode(context.Background(), pool)
						assert.NoError(t, err)
					}
				}
				return real.Load(ctx, req)
			}}
			s := newService(t, pool, Config{Sources: []pipeline.Source{newSource(t, users("A", 300), users("B", 300), users("C", 300))}, Loader: loader})
			run := dueRun(t, s, "2024-05-10")
			for _, got := range night(t, pool, s, run, fileTries+1) {
				assert.Equal(t, ledger.StatusRetrying, got)
			}
			require.NoError(t, found())
			assert.Equal(t, []string{ledger.StatusSucceeded}, night(t, pool, s, run, 1))
			assertStoredOnce(t, pool, 900)
		})
	}
}

// The same at any moment, those between the steps of a commit too, again and again.
func TestNodeIsLostAgainAndAgain(t *testing.T) {
	t.Parallel()
	needsCluster(t)
	loseAgainAndAgain(t, 150*time.Millisecond, func(pool *pgxpool.Pool) bool {
		found, err := testdb.LoseNode(context.Background(), pool)
		return assert.NoError(t, err) && assert.NoError(t, found())
	})
}

// The same with a worker that crashes and recovers.
//
//nolint:paralleltest // the worker's other databases crash with it
func TestNodeCrashesAgainAndAgain(t *testing.T) {
	needsCluster(t)
	loseAgainAndAgain(t, 600*time.Millisecond, func(*pgxpool.Pool) bool { return testdb.CrashNode(context.Background()) == nil })
}

// loseAgainAndAgain loses a worker during two nights, with a pause of up to that long. lose reports
// whether it did.
func loseAgainAndAgain(t *testing.T, pause time.Duration, lose func(*pgxpool.Pool) bool) {
	t.Helper()
	const files = 40
	ctx, pool := context.Background(), newPool(t)
	var contents []string
	for i := range files {
		contents = append(contents, users(fmt.Sprintf("F%d-", i), 50))
	}
	s := newService(t, pool, Config{Sources: []pipeline.Source{newSource(t, contents...)}})
	run, next := twoNights(t, s)
	var losing sync.WaitGroup
	ended, losses := make(chan struct{}), 0
	losing.Go(func() {
		for losses < 30 {
			select {
			case <-ended:
				return
			case <-time.After(rand.N(pause)):
			}
			if lose(pool) {
				losses++
			}
			_, _ = pool.Exec(ctx, "SELECT recover_prepared_transactions()") // the cluster does it once a minute
		}
	})
	statuses := night(t, pool, s, run, 100)
	close(ended)
	losing.Wait()
	t.Logf("%d losses, %d attempts", losses, len(statuses))
	execute(t, pool, "SELECT recover_prepared_transactions()")
	statuses = night(t, pool, s, next, 5) // the first attempt may meet connections that are lost
	assert.Equal(t, ledger.StatusSucceeded, statuses[len(statuses)-1], "with the files that were given up")
	assertStoredOnce(t, pool, files*50)
}

func needsCluster(t *testing.T) {
	t.Helper()
	if !testdb.OnCluster() {
		t.Skip("needs a cluster")
	}
}

// users is a file with a row for each of n users.
func users(prefix string, n int) string {
	var b strings.Builder
	b.WriteString(csvHeader)
	for i := range n {
		fmt.Fprintf(&b, "%s%d,%d,0.25,2024-05-%02d\n", prefix, i, i+1, 1+i%28)
	}
	return b.String()
}

// assertStoredOnce completes the commits that a node has prepared, and compares everything.
func assertStoredOnce(t *testing.T, pool *pgxpool.Pool, rows int) {
	t.Helper()
	execute(t, pool, "SELECT recover_prepared_transactions()")
	assert.Equal(t, rows, count(t, pool, "SELECT count(*) FROM transactions"))
	assert.Equal(t, rows, count(t, pool, "SELECT sum(loaded)::bigint FROM etl_files WHERE status = 'loaded'"))
	v, err := summaries.Verify(context.Background(), pool, summaries.VerifyOptions{Full: true}, func(d summaries.Drift) { t.Error(d) })
	require.NoError(t, err)
	assert.EqualValues(t, rows, v.Transactions)
}
