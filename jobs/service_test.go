package jobs

import (
	"bufio"
	"context"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/internal/tests3"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/migrations"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/load"
)

// The test binary is also the worker that TestKilledWorker kills.
const (
	childURL  = "TALLY_JOBS_TEST_CHILD_URL"
	childPath = "TALLY_JOBS_TEST_CHILD_PATH"
)

func TestMain(m *testing.M) {
	if url := os.Getenv(childURL); url != "" {
		slog.Error("child", slog.Any("error", child(url, os.Getenv(childPath))))
		os.Exit(1)
	}
	if err := tests3.Setenv(); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// child works on runs with the real loader, and stands still in the middle of
// its first load, rows in its transaction, until it is killed.
func child(url, path string) error {
	ctx := context.Background()
	pool, err := postgres.Open(ctx, postgres.Config{URL: url})
	if err != nil {
		return err
	}
	real := load.New(pool, nil)
	s, err := New(pool, Config{
		Sources: []pipeline.Source{{Name: "inbox", Path: bucket.Path(path)}}, CodeVersion: "test", Worker: "child",
		Loader: fakeLoader{func(ctx context.Context, req load.Request) (load.Result, error) {
			req.Logger.InfoContext(ctx, "the child is loading")
			req.Progress = func(p pipeline.Progress) {
				if p.Stage != "read" {
					return
				}
				time.Sleep(time.Second) // the log line is in the database by then
				_, _ = os.Stdout.WriteString("loading\n")
				select {}
			}
			return real.Load(ctx, req)
		}},
	})
	if err != nil {
		return err
	}
	if err := s.Start(ctx); err != nil {
		return err
	}
	select {}
}

func TestKilledWorkerIsReplaced(t *testing.T) {
	t.Parallel()
	ctx, url := context.Background(), testdb.URL(t, migrations.Schema{})
	pool, err := postgres.Open(ctx, postgres.Config{URL: url})
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	const n = 20_000
	source := newSource(t, rows(n))
	clock := newFakeClock(time.Now())
	s := newService(t, pool, Config{Sources: []pipeline.Source{source}, Clock: clock, Worker: "second"})
	run := dueRun(t, s, "2024-05-10")

	killLoadingChild(t, url, source.Path.String())
	killed := time.Now()
	require.Equal(t, ledger.StatusRunning, status(t, s, run.ID), "the child crashed")
	require.Zero(t, count(t, pool, "SELECT count(*) FROM transactions"))
	assert.Equal(t, 1, count(t, pool, "SELECT count(*) FROM etl_logs WHERE message = 'the child is loading'"), "log lines survive kill -9")

	require.NoError(t, s.Start(ctx))
	require.Eventually(t, func() bool {
		clock.advance(tickEvery)
		return status(t, s, run.ID) == ledger.StatusSucceeded
	}, testdb.Patience, 200*time.Millisecond)
	t.Logf("requeued and finished %v after the kill", time.Since(killed))
	assert.Equal(t, n, count(t, pool, "SELECT count(*) FROM transactions"))
	assert.Equal(t, 1, count(t, pool, "SELECT count(*) FROM etl_files"))
	attempts, err := attemptsOf(ctx, s, run.ID)
	require.NoError(t, err)
	require.Len(t, attempts, 2)
	assert.Equal(t, []string{"child", ledger.StatusLost, "second", ledger.StatusSucceeded},
		[]string{attempts[0].Worker, attempts[0].Status, attempts[1].Worker, attempts[1].Status})
}

// killLoadingChild starts a worker process and kills it in the middle of a load.
func killLoadingChild(t *testing.T, url, path string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childURL+"="+url, childPath+"="+path)
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	assert.NoError(t, err)
	assert.Equal(t, "loading\n", line)
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait() // says that it was killed
}

func TestStopGivesTheJobBack(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	source := newSource(t, rows(20))
	loading := make(chan struct{})
	var once sync.Once
	real := load.New(pool, nil)
	loader := fakeLoader{func(ctx context.Context, req load.Request) (load.Result, error) {
		req.Progress = func(p pipeline.Progress) {
			if p.Stage == pipeline.StageWrite { // the rows are in the load's transaction
				once.Do(func() { close(loading) })
				<-ctx.Done()
			}
		}
		return real.Load(ctx, req)
	}}
	first := newService(t, pool, Config{Sources: []pipeline.Source{source}, Loader: loader, Worker: "first"})
	require.NoError(t, first.Start(ctx))
	run := dueRun(t, first, "2024-05-10")
	await(t, loading)
	soft, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	require.NoError(t, first.Stop(soft))

	assert.Equal(t, "available 0", text(t, pool, "SELECT state || ' ' || attempt FROM river_job WHERE kind = 'etl_run'"), "no attempt is used up")
	assert.Equal(t, ledger.StatusInterrupted, status(t, first, run.ID))
	assert.Zero(t, count(t, pool, "SELECT count(*) FROM transactions"))
	assert.Equal(t, 1, count(t, pool, "SELECT count(*) FROM etl_logs WHERE message = 'run ended'"), "the last line is written")

	second := newService(t, pool, Config{Sources: []pipeline.Source{source}, Worker: "second"})
	require.NoError(t, second.Start(ctx))
	awaitStatus(t, second, run.ID, ledger.StatusSucceeded)
	assert.Equal(t, 20, count(t, pool, "SELECT count(*) FROM transactions"))
}

func TestStopLetsALoadFinish(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	loading := make(chan struct{})
	var finished atomic.Bool
	loader := fakeLoader{func(ctx context.Context, req load.Request) (load.Result, error) {
		close(loading)
		select {
		case <-ctx.Done():
			return load.Result{}, ctx.Err()
		case <-time.After(300 * time.Millisecond):
			finished.Store(true)
			return loaded(req), nil
		}
	}}
	s := newService(t, pool, Config{Sources: []pipeline.Source{newSource(t, "a")}, Loader: loader})
	require.NoError(t, s.Start(ctx))
	run := dueRun(t, s, "2024-05-10")
	await(t, loading)
	soft, cancel := context.WithTimeout(ctx, testdb.Patience)
	defer cancel()
	require.NoError(t, s.Stop(soft))
	assert.True(t, finished.Load())
	assert.Equal(t, ledger.StatusSucceeded, status(t, s, run.ID))
	assert.Equal(t, "completed", text(t, pool, "SELECT state::text FROM river_job WHERE kind = 'etl_run'"))
	require.NoError(t, s.Stop(soft), "a second stop does nothing")
	require.ErrorIs(t, s.Start(ctx), errStopped)
}

// River's cleaner deletes jobs after a day; the ledger does not care, and lets
// no one delete from it.
func TestAuditTrailOutlivesTheQueue(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	s := newService(t, pool, Config{Sources: []pipeline.Source{newSource(t, rows(3)+"bad\n")}})
	require.NoError(t, s.Start(ctx))
	run := dueRun(t, s, "2024-05-10")
	awaitStatus(t, s, run.ID, ledger.StatusSucceeded)
	require.NoError(t, s.logs.Flush(ctx))
	require.Eventually(t, func() bool {
		return count(t, pool, "SELECT count(*) FROM river_job WHERE kind = 'etl_run' AND state = 'completed'") == 1
	}, testdb.Patience, 10*time.Millisecond)
	execute(t, pool, "DELETE FROM river_job")

	got, err := s.Ledger().Run(ctx, run.ID)
	require.NoError(t, err)
	assert.Equal(t, ledger.StatusSucceeded, got.Status)
	assert.NotZero(t, got.JobID)
	files, err := s.Ledger().Files(ctx, run.ID, 0, 0)
	require.NoError(t, err)
	require.Len(t, files, 1)
	assert.Equal(t, []int64{4, 3, 1}, []int64{files[0].Read, files[0].Loaded, files[0].Rejected})
	lines, err := s.Ledger().Logs(ctx, run.ID, 0, 0)
	require.NoError(t, err)
	assert.GreaterOrEqual(t, len(lines), 4)
	given, err := s.Reconcile(ctx)
	require.NoError(t, err)
	assert.Empty(t, given, "a run that is over stays over without its job")

	for _, table := range []string{"etl_runs", "etl_attempts", "etl_outcomes", "etl_files", "etl_rejects", "etl_logs", "audit_events", "etl_run_sources"} {
		for _, statement := range []string{"DELETE FROM " + table, "TRUNCATE " + table + " CASCADE", "UPDATE " + table + " SET " + firstColumn(t, s, table)} {
			_, err := pool.Exec(ctx, statement)
			assert.Equal(t, "23000", postgres.State(err), statement)
		}
	}
}

// firstColumn is "c = c" for a column of a table.
func firstColumn(t *testing.T, s *Service, table string) string {
	t.Helper()
	c := text(t, s.pool, `SELECT column_name FROM information_schema.columns WHERE table_name = $1 AND column_name NOT IN ('id') ORDER BY ordinal_position LIMIT 1`, table)
	return c + " = " + c
}

func TestConfigCheckNamesTheField(t *testing.T) {
	t.Parallel()
	for field, c := range map[string]Config{
		"CatchUp":      {CatchUp: "sometimes"},
		"CatchUpLimit": {CatchUpLimit: -1},
		"Timeout":      {Timeout: -time.Second},
		"path":         {Sources: []pipeline.Source{{Name: "a"}}},
		`"a" is there`: {Sources: []pipeline.Source{{Name: "a", Path: bucket.Path("x")}, {Name: "a", Path: bucket.Path("y")}}},
	} {
		_, err := New(nil, c)
		require.Error(t, err)
		assert.Contains(t, err.Error(), field)
		assert.True(t, strings.HasPrefix(err.Error(), "jobs: "))
	}
}
