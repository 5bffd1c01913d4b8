package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertest"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/load"
)

// work has River's test worker work on a run once, in a job of its own or in
// the one given.
func work(t *testing.T, pool *pgxpool.Pool, s *Service, run ledger.Run, job *rivertype.JobRow) *rivertest.WorkResult {
	t.Helper()
	ctx := context.Background()
	worker := rivertest.NewWorker(t, riverpgxv5.New(pool), s.riverConfig(), &runWorker{retried[runArgs]{service: s}})
	tx, err := pool.Begin(ctx)
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(ctx) }() // after a commit it does nothing
	if job == nil {
		inserted, err := s.river.InsertTx(ctx, tx, runArgs{RunID: run.ID, LogicalDate: run.LogicalDate.String()}, nil)
		require.NoError(t, err)
		job = inserted.Job
	}
	result, err := worker.WorkJob(ctx, t, tx, job)
	if err != nil {
		t.Logf("the job's error: %v", err)
	}
	require.NotNil(t, result)
	require.NoError(t, tx.Commit(ctx))
	return result
}

func errUnavailable() error { return fmt.Errorf("commit: %w", &pgconn.PgError{Code: "57P01"}) }

func TestRunSucceeds(t *testing.T) {
	t.Parallel()
	pool := newPool(t)
	s := newService(t, pool, Config{Sources: []pipeline.Source{newSource(t, rows(3), rows(9))}})
	run := dueRun(t, s, "2024-05-10")
	result := work(t, pool, s, run, nil)
	assert.Equal(t, river.EventKindJobCompleted, result.EventKind)
	assert.Equal(t, ledger.StatusSucceeded, status(t, s, run.ID))

	var output RunResult
	require.NoError(t, json.Unmarshal(result.Job.Output(), &output))
	require.Len(t, output.Files, 2)
	assert.Equal(t, int64(3), output.Files[0].Loaded)
	assert.Equal(t, int64(6), output.Files[1].Loaded, "three of nine are known")
	assert.Equal(t, run.LogicalDate, output.LogicalDate)
	assert.Contains(t, string(result.Job.Metadata), "file loaded", "the log that River UI shows")
	assert.Equal(t, 9, count(t, pool, "SELECT count(*) FROM transactions"))
}

func TestBadFileFailsOnce(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	source := newSource(t, "wrong,header\n1,2\n", rows(3))
	s := newService(t, pool, Config{Sources: []pipeline.Source{source}})
	_, err := s.EnqueueDue(ctx, moment(t, "2024-05-10T00:00:00Z"))
	require.NoError(t, err)
	runs, err := s.EnqueueDue(ctx, moment(t, "2024-05-12T00:00:00Z"))
	require.NoError(t, err)
	require.Len(t, runs, 2)

	result := work(t, pool, s, runs[0], nil)
	assert.Equal(t, river.EventKindJobCancelled, result.EventKind, "not retried")
	run, err := s.Ledger().Run(ctx, runs[0].ID)
	require.NoError(t, err)
	assert.Equal(t, ledger.StatusFailed, run.Status)
	assert.Contains(t, run.Error, "a.csv")
	assert.Equal(t, 3, count(t, pool, "SELECT count(*) FROM transactions"), "the good file is loaded all the same")

	next := work(t, pool, s, runs[1], nil)
	assert.Equal(t, river.EventKindJobCompleted, next.EventKind, "the same file is not tried on the next night")
	var output RunResult
	require.NoError(t, json.Unmarshal(next.Job.Output(), &output))
	assert.Equal(t, StatusSkipped, output.Files[0].Status)
	assert.Contains(t, output.Files[0].Error, "a.csv")
	assert.Equal(t, 1, count(t, pool, "SELECT count(*) FROM etl_files WHERE status = 'failed'"))

	// An operator retries the failed job in River UI: then it is tried.
	job, err := s.river.JobRetry(ctx, result.Job.ID)
	require.NoError(t, err)
	again := work(t, pool, s, runs[0], job)
	assert.Equal(t, river.EventKindJobCancelled, again.EventKind)
	assert.Equal(t, 2, count(t, pool, "SELECT count(*) FROM etl_files WHERE status = 'failed'"))
}

func TestLostConnectionIsRetried(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	down := true
	var tried []string
	loader := fakeLoader{func(_ context.Context, req load.Request) (load.Result, error) {
		tried = append(tried, fmt.Sprintf("%d:%s", req.Attempt, path.Base(req.Path.String())))
		if down {
			return load.Result{}, errUnavailable()
		}
		return loaded(req), nil
	}}
	s := newService(t, pool, Config{Sources: []pipeline.Source{newSource(t, "a", "b")}, Loader: loader})
	run := dueRun(t, s, "2024-05-10")
	first := work(t, pool, s, run, nil)
	assert.Equal(t, river.EventKindJobFailed, first.EventKind)
	assert.Equal(t, ledger.StatusRetrying, status(t, s, run.ID))
	assert.WithinDuration(t, time.Now().Add(time.Second), first.Job.ScheduledAt, time.Second)
	down = false
	second := work(t, pool, s, run, first.Job)
	assert.Equal(t, river.EventKindJobCompleted, second.EventKind)
	assert.Equal(t, []string{"1:a.csv", "1:b.csv", "2:a.csv", "2:b.csv"}, tried)
	attempts, err := attemptsOf(ctx, s, run.ID)
	require.NoError(t, err)
	require.Len(t, attempts, 2)
	assert.Equal(t, []string{ledger.StatusRetrying, ledger.StatusSucceeded}, []string{attempts[0].Status, attempts[1].Status})
	assert.NotNil(t, attempts[0].FinishedAt)
}

// A bad file found before an outage stays failed when the run goes on.
func TestRetryKeepsWhatFailed(t *testing.T) {
	t.Parallel()
	pool := newPool(t)
	real, down := load.New(pool, nil), true
	loader := fakeLoader{func(ctx context.Context, req load.Request) (load.Result, error) {
		if down && strings.HasSuffix(req.Path.String(), "b.csv") {
			return load.Result{}, errUnavailable()
		}
		return real.Load(ctx, req)
	}}
	s := newService(t, pool, Config{Sources: []pipeline.Source{newSource(t, "bad\n", rows(2))}, Loader: loader})
	run := dueRun(t, s, "2024-05-10")
	first := work(t, pool, s, run, nil)
	require.Equal(t, ledger.StatusRetrying, status(t, s, run.ID))
	down = false
	second := work(t, pool, s, run, first.Job)
	assert.Equal(t, river.EventKindJobCancelled, second.EventKind)
	assert.Equal(t, ledger.StatusFailed, status(t, s, run.ID))
	assert.Equal(t, 1, count(t, pool, "SELECT count(*) FROM etl_files WHERE status = 'failed'"))
	assert.Equal(t, 2, count(t, pool, "SELECT count(*) FROM transactions"))
}

func TestEndings(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		load    func(ctx context.Context, req load.Request) (load.Result, error)
		timeout time.Duration // begins before the run does
		status  string
		event   river.EventKind
		reason  string
	}{
		"a refused statement": {
			load: func(context.Context, load.Request) (load.Result, error) {
				return load.Result{}, &pgconn.PgError{Code: "42601", Message: "syntax"}
			},
			status: ledger.StatusFailed, event: river.EventKindJobCancelled, reason: "42601",
		},
		"too slow": {
			load: func(ctx context.Context, _ load.Request) (load.Result, error) {
				<-ctx.Done()
				return load.Result{}, ctx.Err()
			},
			timeout: 2 * time.Second, status: ledger.StatusFailed, event: river.EventKindJobCancelled, reason: errTimeout.Error(),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := newPool(t)
			s := newService(t, pool, Config{
				Sources: []pipeline.Source{newSource(t, "a")}, Loader: fakeLoader{c.load}, Timeout: c.timeout,
			})
			run := dueRun(t, s, "2024-05-10")
			assert.Equal(t, c.event, work(t, pool, s, run, nil).EventKind)
			got, err := s.Ledger().Run(context.Background(), run.ID)
			require.NoError(t, err)
			assert.Equal(t, c.status, got.Status)
			assert.Contains(t, got.Error, c.reason)
		})
	}
}

func TestJobThatFindsNoWork(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	s := newService(t, pool, Config{Sources: []pipeline.Source{newSource(t, "a")}, Loader: loads()})
	run := dueRun(t, s, "2024-05-10")

	// Another process has the run.
	lock, err := lockRun(ctx, pool, run.ID)
	require.NoError(t, err)
	busy := work(t, pool, s, run, nil)
	assert.Equal(t, river.EventKindJobSnoozed, busy.EventKind)
	assert.Zero(t, busy.Job.Attempt, "waiting uses no attempt up")
	assert.Zero(t, count(t, pool, "SELECT count(*) FROM etl_attempts"))
	lock.release(ctx)

	// Another job has done it meanwhile.
	require.Equal(t, river.EventKindJobCompleted, work(t, pool, s, run, nil).EventKind)
	assert.Equal(t, river.EventKindJobCompleted, work(t, pool, s, run, busy.Job).EventKind)
	assert.Equal(t, 1, count(t, pool, "SELECT count(*) FROM etl_attempts"))

	// There is no such run.
	assert.Equal(t, river.EventKindJobCancelled, work(t, pool, s, ledger.Run{ID: 4711}, nil).EventKind)
}

// Two attempts at once, as after a lock that was lost: the real fence lets only
// the later one commit, and the earlier one gives up.
func TestOnlyTheLastAttemptCommits(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	source := newSource(t, rows(5))
	var second *attempt
	var other *Service // of another process
	loader := fakeLoader{func(ctx context.Context, req load.Request) (load.Result, error) {
		if req.Attempt > 1 {
			return load.New(pool, nil).Load(ctx, req)
		}
		cutRunLocks(t, pool)
		require.Eventually(t, func() bool {
			var err error
			second, err = other.begin(ctx, req.RunID, nil)
			return err == nil
		}, testdb.Patience, 10*time.Millisecond)
		return load.New(pool, nil).Load(ctx, req)
	}}
	config := Config{Sources: []pipeline.Source{source}, Loader: loader}
	s := newService(t, pool, config)
	other = newService(t, pool, config)
	run := dueRun(t, s, "2024-05-10")
	result := work(t, pool, s, run, nil)
	assert.Equal(t, river.EventKindJobCompleted, result.EventKind)
	assert.Zero(t, count(t, pool, "SELECT count(*) FROM transactions"), "the fenced attempt loaded nothing")
	assert.Equal(t, ledger.StatusRunning, status(t, s, run.ID))

	second.sources = []pipeline.Source{source}
	_, end := other.attempt(ctx, second)
	require.NoError(t, end.err)
	assert.Equal(t, 5, count(t, pool, "SELECT count(*) FROM transactions"))
	attempts, err := attemptsOf(ctx, s, run.ID)
	require.NoError(t, err)
	assert.Equal(t, []string{ledger.StatusLost, ledger.StatusSucceeded}, []string{attempts[0].Status, attempts[1].Status})
}

func TestLostLockEndsTheAttempt(t *testing.T) {
	t.Parallel()
	pool := newPool(t)
	loader := fakeLoader{func(ctx context.Context, _ load.Request) (load.Result, error) {
		cutRunLocks(t, pool)
		<-ctx.Done()
		return load.Result{}, ctx.Err()
	}}
	s := newService(t, pool, Config{Sources: []pipeline.Source{newSource(t, "a")}, Loader: loader})
	run := dueRun(t, s, "2024-05-10")
	assert.Equal(t, river.EventKindJobFailed, work(t, pool, s, run, nil).EventKind)
	assert.Equal(t, ledger.StatusRetrying, status(t, s, run.ID))
}

func TestOutcomeThatCannotBeRecorded(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	s := newService(t, pool, Config{Sources: []pipeline.Source{newSource(t, rows(2))}})
	run := dueRun(t, s, "2024-05-10")
	allow := refuse(t, pool, "etl_outcomes", "53100")
	first := work(t, pool, s, run, nil)
	assert.Equal(t, river.EventKindJobFailed, first.EventKind)
	allow()
	assert.Equal(t, river.EventKindJobCompleted, work(t, pool, s, run, first.Job).EventKind)
	attempts, err := attemptsOf(ctx, s, run.ID)
	require.NoError(t, err)
	assert.Equal(t, []string{ledger.StatusLost, ledger.StatusSucceeded}, []string{attempts[0].Status, attempts[1].Status})
	assert.Equal(t, 2, count(t, pool, "SELECT count(*) FROM transactions"))
}

func TestBackOffIsBounded(t *testing.T) {
	t.Parallel()
	var waits []time.Duration
	for _, failures := range []int{0, 1, 2, 5, 6, 400} {
		waits = append(waits, backOff(failures))
	}
	assert.Equal(t, []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 32 * time.Second, time.Minute, time.Minute}, waits)
}

func TestReindexerKeepsAwayFromMidnight(t *testing.T) {
	t.Parallel()
	z := zone(t, "America/New_York")
	at := dailyAt{hour: reindexHour, zone: z}
	first := at.Next(moment(t, "2024-03-09T18:00:00Z"))
	assert.Equal(t, "2024-03-10T12:00:00-04:00", first.Format(time.RFC3339))
	assert.Equal(t, "2024-03-11T12:00:00-04:00", at.Next(first).Format(time.RFC3339))
}

func TestFilesErrorNamesTheFiles(t *testing.T) {
	t.Parallel()
	e := &FilesError{Other: []error{errors.New("source x: gone"), pgx.ErrNoRows}}
	for i := range failedNamed + 2 {
		e.Failed = append(e.Failed, load.Result{Path: fmt.Sprintf("f%02d", i), Error: "empty"})
	}
	assert.Contains(t, e.Error(), "empty (f00); empty (f01)")
	assert.Contains(t, e.Error(), "; and 2 more; source x: gone")
	assert.NotContains(t, e.Error(), "f10")
	assert.ErrorIs(t, e, pgx.ErrNoRows)
}

// cutRunLocks ends the connections that hold a run's lock in this database; other
// tests' runs on the same server are none of ours.
func cutRunLocks(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	execute(t, pool, `SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = $1
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`, runLockClass)
}
