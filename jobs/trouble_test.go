package jobs

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/load"
)

const poison = csvHeader + "P1,666,1,2024-05-01\n"

// refuseUser makes the database refuse the keys of user 666, until allow is called.
func refuseUser(t *testing.T, pool *pgxpool.Pool, state string) (allow func()) {
	t.Helper()
	execute(t, pool, fmt.Sprintf(`CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '%s'; END $$`, state))
	// A cluster lets a distributed table have triggers only with that setting, which other servers ignore.
	execute(t, pool, "DO $$ BEGIN SET LOCAL citus.enable_unsafe_triggers = on; "+
		"CREATE TRIGGER poison BEFORE INSERT ON transaction_keys FOR EACH ROW WHEN (NEW.user_id = 666) EXECUTE FUNCTION poison(); END $$")
	return func() { execute(t, pool, "DROP FUNCTION poison CASCADE") }
}

// reported is the SQLSTATE that a load gets: from the nodes of a cluster, COPY has only internal errors.
func reported(state string) string {
	if testdb.OnCluster() {
		return pgerrcode.InternalError
	}
	return state
}

func twoNights(t *testing.T, s *Service) (first, second ledger.Run) {
	t.Helper()
	_, err := s.EnqueueDue(t.Context(), moment(t, "2024-05-10T00:00:00Z"))
	require.NoError(t, err)
	runs, err := s.EnqueueDue(t.Context(), moment(t, "2024-05-12T00:00:00Z"))
	require.NoError(t, err)
	require.Len(t, runs, 2)
	return runs[0], runs[1]
}

// night works on the runs of a date until it ends, at most n times.
func night(t *testing.T, pool *pgxpool.Pool, s *Service, run ledger.Run, n int) (statuses []string) {
	t.Helper()
	var job *rivertype.JobRow
	for range n {
		if job != nil { // as River's producer does, so that nothing wakes it while it is worked
			execute(t, pool, "UPDATE river_job SET state = 'running' WHERE id = $1", job.ID)
		}
		result := work(t, pool, s, run, job)
		statuses, job = append(statuses, status(t, s, run.ID)), result.Job
		if result.EventKind != river.EventKindJobFailed {
			break
		}
	}
	return statuses
}

// A file that the database cannot take, whatever the reason, is set aside; the others are
// loaded. It fails after three attempts, and the next night tries it again.
func TestFileThatMeetsTroubleFailsByItself(t *testing.T) {
	t.Parallel()
	for state, words := range map[string]string{
		"53100": "disk full in 3 attempts", "53200": "out of memory in 3", "53400": "limit exceeded in 3", "57014": "statement_timeout",
		"58030": "io error", "XX001": "pg_amcheck", "40001": "conflict", "57P01": "connection lost", "25P04": "transaction_timeout",
	} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			ctx, pool := context.Background(), newPool(t)
			s := newService(t, pool, Config{Sources: []pipeline.Source{newSource(t, rows(3), poison, "bad\n", csvHeader+"Z1,7,1,2024-05-01\n")}})
			allow := refuseUser(t, pool, state)
			run, next := twoNights(t, s)
			assert.Equal(t, []string{ledger.StatusRetrying, ledger.StatusRetrying, ledger.StatusFailed}, night(t, pool, s, run, 9))
			assert.Equal(t, 4, count(t, pool, "SELECT count(*) FROM transactions"), "those behind it too")
			assert.Equal(t, 3, count(t, pool, "SELECT count(*) FROM etl_troubles"))
			assert.Equal(t, "b.csv given_up, c.csv missing_column", text(t, pool,
				`SELECT string_agg(concat_ws(' ', right(path, 5), error_code), ', ' ORDER BY path) FROM etl_files WHERE status = 'failed'`))
			ended, err := s.Ledger().Run(ctx, run.ID)
			require.NoError(t, err)
			if testdb.OnCluster() {
				words = "internal error in 3 attempts"
			}
			assert.Contains(t, ended.Error, words)
			assert.Contains(t, ended.Error, reported(state))

			allow()
			assert.Equal(t, []string{ledger.StatusSucceeded}, night(t, pool, s, next, 1))
			assert.Equal(t, 5, count(t, pool, "SELECT count(*) FROM transactions"))
		})
	}
}

// crashes are attempts at a run whose process ended while it loaded the file of a path, if there is one.
func crashes(t *testing.T, pool *pgxpool.Pool, run ledger.Run, n int, path string) {
	t.Helper()
	for range n {
		execute(t, pool, `INSERT INTO etl_attempts (run_id, attempt, worker, code_version)
			SELECT $1, 1 + count(*), 'crashed', 'test' FROM etl_attempts WHERE run_id = $1`, run.ID)
		execute(t, pool, "INSERT INTO etl_outcomes (run_id, attempt, status) SELECT $1, count(*), 'lost' FROM etl_attempts WHERE run_id = $1", run.ID)
		if path != "" {
			execute(t, pool, `INSERT INTO etl_troubles (run_id, attempt, source, path, trouble, error)
				SELECT $1, count(*), 'inbox', $2, 'crash', 'as recorded' FROM etl_attempts WHERE run_id = $1`, run.ID, path)
		}
	}
}

// A file at which the process crashes again and again fails, and those behind it are loaded. Those
// before it, which the same attempts recorded, are not blamed.
func TestFileThatCrashesTheProcessFailsByItself(t *testing.T) {
	t.Parallel()
	for n, failed := range map[int]string{fileCrashes - 1: "", fileCrashes: "b.csv: crash in 5 attempts"} {
		pool, source := newPool(t), newSource(t, rows(3), csvHeader+"Y1,7,1,2024-05-01\n", csvHeader+"Z1,7,1,2024-05-01\n")
		s := newService(t, pool, Config{Sources: []pipeline.Source{source}})
		run := dueRun(t, s, "2024-05-10")
		crashes(t, pool, run, 1, "") // nothing is known of the first
		for range n {
			crashes(t, pool, run, 1, source.Path.String()+"/a.csv")
			execute(t, pool, `INSERT INTO etl_troubles (run_id, attempt, source, path, trouble, error)
				SELECT run_id, attempt, source, replace(path, 'a.csv', 'b.csv'), trouble, error FROM etl_troubles ORDER BY id DESC LIMIT 1`)
		}
		night(t, pool, s, run, 1)
		assert.Equal(t, failed, text(t, pool, `SELECT coalesce((SELECT concat(right(path, 5), ': ', split_part(error, ': ', 3))
			FROM etl_files WHERE error_code = 'given_up'), '')`))
		assert.Equal(t, 3-min(1, len(failed)), count(t, pool, "SELECT count(*) FROM etl_files WHERE status = 'loaded'"))
	}
}

// A file that meets a bug of the program, in whichever goroutine, is set aside as for any trouble.
func TestPanicFailsOneFile(t *testing.T) {
	t.Parallel()
	pool := newPool(t)
	real := load.New(pool, nil)
	loader := fakeLoader{func(ctx context.Context, req load.Request) (load.Result, error) {
		if req.GiveUp == nil && strings.HasSuffix(req.Path.String(), "a.csv") {
			panic("a bug")
		}
		return real.Load(ctx, req)
	}}
	s := newService(t, pool, Config{Sources: []pipeline.Source{newSource(t, rows(3), csvHeader+"Z1,7,1,2024-05-01\n")}, Loader: loader})
	run := dueRun(t, s, "2024-05-10")
	assert.Equal(t, []string{ledger.StatusRetrying, ledger.StatusRetrying, ledger.StatusFailed}, night(t, pool, s, run, 9))
	assert.Contains(t, text(t, pool, "SELECT error FROM etl_files WHERE error_code = 'given_up'"), "panic in 3 attempts")
	assert.Equal(t, 1, count(t, pool, "SELECT count(*) FROM transactions"))
	require.NoError(t, s.logs.Flush(t.Context()))
	assert.Contains(t, text(t, pool, "SELECT attrs::text FROM etl_logs WHERE message = 'panic' LIMIT 1"), "trouble_test.go", "the stack")
}

// A bug that is about no file fails the run, and nothing else.
func TestPanicFailsOneRun(t *testing.T) {
	t.Parallel()
	pool := newPool(t)
	s := newService(t, pool, Config{Sources: []pipeline.Source{newSource(t, rows(3))}, Loader: struct{ Loader }{}})
	run := dueRun(t, s, "2024-05-10")
	assert.Equal(t, []string{ledger.StatusFailed}, night(t, pool, s, run, 9))
	assert.Contains(t, text(t, pool, "SELECT error FROM etl_run_status"), "panic: runtime error: invalid memory address")
}

// A run whose process crashes at no file, or at many, ends.
func TestRunThatCrashesTheProcessEnds(t *testing.T) {
	t.Parallel()
	pool := newPool(t)
	s := newService(t, pool, Config{Sources: []pipeline.Source{newSource(t, rows(3))}})
	s.orphanedAfter = 0
	run := dueRun(t, s, "2024-05-10")
	execute(t, pool, "DELETE FROM river_job")
	crashes(t, pool, run, runCrashes, "")
	execute(t, pool, "INSERT INTO etl_attempts (run_id, attempt, worker, code_version) VALUES ($1, $2, 'crashed', 'test')", run.ID, runCrashes+1)
	requeued, err := s.Reconcile(t.Context())
	require.NoError(t, err)
	assert.Empty(t, requeued)
	assert.Equal(t, ledger.StatusFailed, status(t, s, run.ID))
	awaitAlert(t, s)
}

// What all files meet is the server's trouble: none of them fails, and in the end the run
// does. The next night tries them again.
func TestTroubleOfTheServerEndsTheRun(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	s := newService(t, pool, Config{Sources: []pipeline.Source{newSource(t, poison, csvHeader+"P2,666,1,2024-05-01\n")}})
	s.runTries = 5
	allow := refuseUser(t, pool, "53100")
	run, next := twoNights(t, s)
	retrying := ledger.StatusRetrying
	assert.Equal(t, []string{retrying, retrying, retrying, retrying, ledger.StatusFailed}, night(t, pool, s, run, 9))
	assert.Zero(t, count(t, pool, "SELECT count(*) FROM etl_files"))
	ended, err := s.Ledger().Run(ctx, run.ID)
	require.NoError(t, err)
	assert.Contains(t, ended.Error, "given up after 5 attempts; the next run tries the files again: ")
	assert.Contains(t, ended.Error, "SQLSTATE "+reported("53100"))
	requeued, err := s.Reconcile(ctx)
	require.NoError(t, err)
	assert.Empty(t, requeued)
	allow()
	assert.Equal(t, []string{ledger.StatusSucceeded}, night(t, pool, s, next, 1))
	assert.Equal(t, 2, count(t, pool, "SELECT count(*) FROM transactions"))
}

// Too many connections are no file's doing, although others are loaded.
func TestNoFileIsBlamedForTheServer(t *testing.T) {
	t.Parallel()
	testdb.SkipOnCluster(t, "COPY reports the errors of its nodes as internal ones")
	pool := newPool(t)
	s := newService(t, pool, Config{Sources: []pipeline.Source{newSource(t, rows(3), poison)}})
	allow := refuseUser(t, pool, "53300")
	run := dueRun(t, s, "2024-05-10")
	for _, got := range night(t, pool, s, run, 4) {
		assert.Equal(t, ledger.StatusRetrying, got)
	}
	allow()
	assert.Equal(t, []string{ledger.StatusSucceeded}, night(t, pool, s, run, 1))
}

// Where not even the trouble can be recorded, nothing can be loaded.
func TestOutageEndsTheAttempt(t *testing.T) {
	t.Parallel()
	pool := newPool(t)
	tried := 0
	loader := fakeLoader{func(_ context.Context, _ load.Request) (load.Result, error) {
		tried++
		return load.Result{}, errUnavailable()
	}}
	s := newService(t, pool, Config{Sources: []pipeline.Source{newSource(t, "a", "b")}, Loader: loader})
	refuse(t, pool, "etl_troubles", "57P03")
	assert.Equal(t, []string{ledger.StatusRetrying}, night(t, pool, s, dueRun(t, s, "2024-05-10"), 1))
	assert.Equal(t, 1, tried)
}

// Temporary files without room fail the file, and say which setting gives them more.
func TestNoRoomForTemporaryFiles(t *testing.T) {
	t.Parallel()
	pool := newPool(t)
	real := load.New(pool, nil)
	loader := fakeLoader{func(ctx context.Context, req load.Request) (load.Result, error) {
		if req.GiveUp == nil {
			return load.Result{}, fmt.Errorf("sort: %w", &fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC})
		}
		return real.Load(ctx, req)
	}}
	s := newService(t, pool, Config{Sources: []pipeline.Source{newSource(t, rows(3))}, Loader: loader})
	run := dueRun(t, s, "2024-05-10")
	assert.Equal(t, []string{ledger.StatusRetrying, ledger.StatusRetrying, ledger.StatusFailed}, night(t, pool, s, run, 9))
	assert.Contains(t, text(t, pool, "SELECT error FROM etl_files"), "given_up: no temporary space in 3 attempts: ")
	assert.Contains(t, text(t, pool, "SELECT error FROM etl_files"), "set TMPDIR")
	assert.Equal(t, "no_temporary_space", text(t, pool, "SELECT DISTINCT trouble FROM etl_troubles"))
}

// An operator who retries the job gives the file its attempts again.
func TestTriesBeginAnewOnRequest(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	s := newService(t, pool, Config{Sources: []pipeline.Source{newSource(t, rows(3), poison, csvHeader+"Z1,7,1,2024-05-01\n")}})
	refuseUser(t, pool, "58030")
	run := dueRun(t, s, "2024-05-10")
	require.Len(t, night(t, pool, s, run, 9), 3)
	result, err := s.Run(ctx, RunRequest{Date: &run.LogicalDate})
	require.Error(t, err)
	assert.Equal(t, ledger.StatusRetrying, result.Status)
	assert.Equal(t, 4, result.Attempt)
}

func TestTroubleOf(t *testing.T) {
	t.Parallel()
	for err, name := range map[error]string{
		fmt.Errorf("spool: %w", syscall.EDQUOT): "no_temporary_space",
		&pgconn.PgError{Code: "53100"}:          "disk_full",
		&pgconn.PgError{Code: "23505"}:          "",
	} {
		got, ok := troubleOf(err)
		assert.Equal(t, name, got.Name)
		assert.Equal(t, name != "", ok)
	}
}
