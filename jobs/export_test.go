package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/internal/tests3"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/parquet"
	"github.com/opentax/tally/summaries"
)

// files are those of an export of one month: of transactions and of every rollup.
func files() int { return 1 + len(summaries.Rollups()) }

// exported lists the exports in the ledger.
const exported = "SELECT coalesce(string_agg(concat_ws(' ', run_id, status, rows, written), ', ' ORDER BY id), '') FROM etl_exports"

// After each run that has ended, what it changed is exported.
func TestRunIsExported(t *testing.T) {
	t.Parallel()
	ctx, pool, dir := context.Background(), newPool(t), t.TempDir()
	s := newService(t, pool, Config{Sources: []pipeline.Source{newSource(t, rows(20))}, ExportTo: bucket.Path(dir), Worker: "w"})
	require.NoError(t, s.Start(ctx))
	run := dueRun(t, s, "2024-05-10")
	awaitStatus(t, s, run.ID, ledger.StatusSucceeded)
	want := fmt.Sprint("1 succeeded 20 ", files())
	require.Eventually(t, func() bool { return text(t, pool, exported) == want }, testdb.Patience, 20*time.Millisecond)
	assert.Equal(t, "schedule "+dir+" w test 195 2 t",
		text(t, pool, `SELECT concat_ws(' ', requested_by, target, worker, code_version, total_amount, epoch, started_at < finished_at AND bytes > 1000) FROM etl_exports`))
	checked, err := s.CheckExport(ctx, bucket.Location{})
	require.NoError(t, err)
	assert.True(t, checked.Clean())
	stats, err := s.Ledger().Stats(ctx)
	require.NoError(t, err)
	assert.WithinDuration(t, time.Now(), stats.LastExport, time.Minute)
	assert.Less(t, stats.LastExportAge, time.Minute)
	require.Eventually(t, func() bool {
		return text(t, pool, "SELECT state::text FROM river_job WHERE kind = 'export'") == "completed"
	}, testdb.Patience, 20*time.Millisecond)
	var output parquet.Result
	require.NoError(t, json.Unmarshal([]byte(text(t, pool, "SELECT (metadata->'output')::text FROM river_job WHERE kind = 'export'")), &output))
	assert.Equal(t, int64(20), output.Rows, "River UI shows the result")
}

// An unavailable target does not cost the night: the run is finished, the export is retried
// until it is available.
func TestExportIsRetried(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	blocked := filepath.Join(t.TempDir(), "blocked")
	require.NoError(t, os.WriteFile(blocked, nil, 0o600)) // a file where the folder should be
	target := filepath.Join(blocked, "lake")
	s := newService(t, pool, Config{Sources: []pipeline.Source{newSource(t, rows(20))}, ExportTo: bucket.Path(target)})
	require.NoError(t, s.Start(ctx))
	run := dueRun(t, s, "2024-05-10")
	awaitStatus(t, s, run.ID, ledger.StatusSucceeded)
	require.Eventually(t, func() bool { return count(t, pool, "SELECT count(*) FROM etl_exports WHERE status = 'retrying'") > 0 }, testdb.Patience, 20*time.Millisecond)
	assert.Contains(t, text(t, pool, "SELECT error FROM etl_exports LIMIT 1"), "not a directory")
	require.NoError(t, os.Remove(blocked))
	require.Eventually(t, func() bool { return count(t, pool, "SELECT count(*) FROM etl_exports WHERE status = 'succeeded'") == 1 }, testdb.Patience, 20*time.Millisecond)
}

// So is one to an object store.
func TestExportToUnavailableStore(t *testing.T) {
	t.Parallel()
	ctx, pool, store := context.Background(), newPool(t), tests3.New(t)
	store.Stop()
	s := newService(t, pool, Config{Sources: []pipeline.Source{newSource(t, rows(20))}, ExportTo: store.At("lake")})
	require.NoError(t, s.Start(ctx))
	run := dueRun(t, s, "2024-05-10")
	awaitStatus(t, s, run.ID, ledger.StatusSucceeded)
	require.Eventually(t, func() bool { return count(t, pool, "SELECT count(*) FROM etl_exports WHERE status = 'retrying'") > 0 }, testdb.Patience, 20*time.Millisecond)
	store.Start()
	require.Eventually(t, func() bool { return count(t, pool, "SELECT count(*) FROM etl_exports WHERE status = 'succeeded'") == 1 }, testdb.Patience, 20*time.Millisecond)
	assert.Zero(t, count(t, pool, "SELECT count(*) FROM etl_exports WHERE target <> 's3://tally/lake' OR error LIKE '%endpoint=%'"))
	checked, err := s.CheckExport(ctx, bucket.Location{})
	require.NoError(t, err)
	assert.True(t, checked.Clean())
}

// An export whose worker crashed, or whose job River discarded, is requeued; a finished one
// is not.
func TestOrphanedExportIsRequeued(t *testing.T) {
	t.Parallel()
	ctx, pool, dir := context.Background(), newPool(t), t.TempDir()
	source := newSource(t, rows(20))
	s := newService(t, pool, Config{Sources: []pipeline.Source{source}})
	s.orphanedAfter = 0
	_, err := s.Run(ctx, RunRequest{Paths: []bucket.Location{source.Path}})
	require.NoError(t, err)
	jobs := "SELECT count(*) FROM river_job WHERE kind = 'export'"
	reconcile := func(s *Service) {
		t.Helper()
		_, err := s.Reconcile(ctx)
		require.NoError(t, err)
	}
	reconcile(s)
	assert.Zero(t, count(t, pool, jobs), "no target is configured")

	exporting := newService(t, pool, Config{ExportTo: bucket.Path(dir)})
	exporting.orphanedAfter = 0
	reconcile(exporting)
	assert.Equal(t, 1, count(t, pool, jobs), "switched on since the run")
	reconcile(exporting)
	assert.Equal(t, 1, count(t, pool, jobs), "it is waiting")
	execute(t, pool, "UPDATE river_job SET state = 'running', attempted_at = now() - interval '1 minute', attempt = 1 WHERE kind = 'export'")
	reconcile(exporting)
	assert.Equal(t, 2, count(t, pool, jobs), "its worker was killed")
	execute(t, pool, "UPDATE river_job SET state = 'discarded', finalized_at = now() WHERE kind = 'export'")

	lock, err := pool.Begin(ctx)
	require.NoError(t, err)
	_, err = lock.Exec(ctx, "SELECT pg_advisory_xact_lock($1, hashtext($2))", parquet.LockClass, dir)
	require.NoError(t, err)
	reconcile(exporting)
	assert.Equal(t, 2, count(t, pool, jobs), "another process exports")
	require.NoError(t, lock.Rollback(ctx))
	reconcile(exporting)
	assert.Equal(t, 3, count(t, pool, jobs), "its job was discarded")

	execute(t, pool, "DELETE FROM river_job WHERE kind = 'export'")
	_, err = exporting.Export(ctx, ExportRequest{})
	require.NoError(t, err)
	reconcile(exporting)
	assert.Zero(t, count(t, pool, jobs), "it is done")
}

// An export stands though nothing can be removed; it says so.
func TestExportThatMayNotRemove(t *testing.T) {
	t.Parallel()
	ctx, pool, store := context.Background(), newPool(t), tests3.New(t)
	proxy := store.Proxy(func(r *http.Request) tests3.Fault {
		if r.Method == http.MethodDelete {
			return tests3.Fault{Status: http.StatusForbidden}
		}
		return tests3.Fault{}
	})
	s := newService(t, pool, Config{})
	_, err := s.Export(ctx, ExportRequest{To: proxy.At("lake")})
	require.NoError(t, err)
	_, err = s.Run(ctx, RunRequest{Paths: []bucket.Location{newSource(t, rows(20)).Path}})
	require.NoError(t, err)
	result, err := s.Export(ctx, ExportRequest{To: proxy.At("lake")})
	require.NoError(t, err)
	assert.Equal(t, []int{0, files()}, []int{result.Removed, result.Left})
	checked, err := s.CheckExport(ctx, proxy.At("lake"))
	require.NoError(t, err)
	assert.Len(t, checked.Drifts, files())
	result, err = s.Export(ctx, ExportRequest{To: store.At("lake")})
	require.NoError(t, err)
	assert.Equal(t, []int{files(), 0}, []int{result.Removed, result.Left})
}

// An error of the store that is permanent is not retried.
func TestExportThatIsRefused(t *testing.T) {
	t.Parallel()
	ctx, pool, store := context.Background(), newPool(t), tests3.New(t)
	proxy := store.Proxy(func(*http.Request) tests3.Fault { return tests3.Fault{Status: http.StatusForbidden} })
	s := newService(t, pool, Config{Sources: []pipeline.Source{newSource(t, rows(20))}, ExportTo: proxy.At("lake")})
	require.NoError(t, s.Start(ctx))
	run := dueRun(t, s, "2024-05-10")
	awaitStatus(t, s, run.ID, ledger.StatusSucceeded)
	require.Eventually(t, func() bool { return text(t, pool, exported) == "1 failed 0 0" }, testdb.Patience, 20*time.Millisecond)
}

// A permanent error ends the job, with its reason.
func TestExportThatCannotBe(t *testing.T) {
	t.Parallel()
	ctx, pool, dir := context.Background(), newPool(t), t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, parquet.ManifestName), []byte(`{"format":1,"database":"other"}`), 0o600))
	s := newService(t, pool, Config{Sources: []pipeline.Source{newSource(t, rows(20))}, ExportTo: bucket.Path(dir)})
	require.NoError(t, s.Start(ctx))
	run := dueRun(t, s, "2024-05-10")
	awaitStatus(t, s, run.ID, ledger.StatusSucceeded)
	require.Eventually(t, func() bool { return text(t, pool, exported) == "1 failed 0 0" }, testdb.Patience, 20*time.Millisecond)
	assert.Contains(t, text(t, pool, "SELECT error FROM etl_exports"), "it is of another database (other)")
	require.Eventually(t, func() bool {
		return text(t, pool, "SELECT state::text FROM river_job WHERE kind = 'export'") == "cancelled"
	}, testdb.Patience, 20*time.Millisecond)
}

// The outcome and the export's job commit together.
func TestExportIsDueWithTheOutcome(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	s := newService(t, pool, Config{Sources: []pipeline.Source{newSource(t, rows(20))}, ExportTo: bucket.Path(t.TempDir())})
	allow := refuse(t, pool, "river_job", "23000")
	_, err := s.Run(ctx, RunRequest{Date: new(date(t, "2024-05-10"))})
	require.ErrorContains(t, err, "record the outcome of run 1")
	assert.Zero(t, count(t, pool, "SELECT count(*) FROM etl_outcomes"))
	allow()
	_, err = s.Run(ctx, RunRequest{Date: new(date(t, "2024-05-10"))})
	require.NoError(t, err)
	assert.Equal(t, 1, count(t, pool, "SELECT count(*) FROM river_job WHERE kind = 'export'"))
}

// Of several waiting exports, the last one does the work of all.
func TestExportsAreLeftToTheLast(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	source := newSource(t, rows(20))
	s := newService(t, pool, Config{ExportTo: bucket.Path(t.TempDir())})
	for range 3 {
		_, err := s.Run(ctx, RunRequest{Paths: []bucket.Location{source.Path}})
		require.NoError(t, err)
	}
	require.NoError(t, s.Start(ctx))
	require.Eventually(t, func() bool {
		return count(t, pool, "SELECT count(*) FROM river_job WHERE kind = 'export' AND state = 'completed'") == 3
	}, testdb.Patience, 20*time.Millisecond)
	assert.Equal(t, fmt.Sprint("3 succeeded 20 ", files()), text(t, pool, exported))
}

// Stopped in the middle, it goes back to the queue.
func TestStopGivesTheExportBack(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	dir := t.TempDir()
	s := newService(t, pool, Config{Sources: []pipeline.Source{newSource(t, rows(20))}, ExportTo: bucket.Path(dir)})
	// It waits for the table.
	lock, err := pool.Begin(ctx)
	require.NoError(t, err)
	run := dueRun(t, s, "2024-05-10")
	_, err = s.Run(ctx, RunRequest{Date: new(date(t, "2024-05-10"))})
	require.NoError(t, err)
	_, err = lock.Exec(ctx, "LOCK TABLE user_months IN ACCESS EXCLUSIVE MODE")
	require.NoError(t, err)
	require.NoError(t, s.Start(ctx))
	require.Eventually(t, func() bool {
		return count(t, pool, "SELECT count(*) FROM pg_locks WHERE relation = 'user_months'::regclass AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())") > 0
	}, testdb.Patience, 20*time.Millisecond)
	soft, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	require.NoError(t, s.Stop(soft))
	require.NoError(t, lock.Rollback(ctx))
	assert.Equal(t, "interrupted", text(t, pool, "SELECT status FROM etl_exports"))
	assert.Equal(t, "available 0", text(t, pool, "SELECT state || ' ' || attempt FROM river_job WHERE kind = 'export'"))
	assert.NoFileExists(t, filepath.Join(dir, parquet.ManifestName))

	second := newService(t, pool, Config{ExportTo: bucket.Path(dir)})
	require.NoError(t, second.Start(ctx))
	require.Eventually(t, func() bool {
		return count(t, pool, "SELECT count(*) FROM etl_exports WHERE status = 'succeeded' AND run_id = $1", run.ID) == 1
	}, testdb.Patience, 20*time.Millisecond)
}

func TestExportByHand(t *testing.T) {
	t.Parallel()
	ctx, pool, dir := context.Background(), newPool(t), t.TempDir()
	s := newService(t, pool, Config{})
	_, err := s.Export(ctx, ExportRequest{})
	require.ErrorIs(t, err, ledger.ErrNoExport)
	result, err := s.Export(ctx, ExportRequest{To: bucket.Path(dir)})
	require.NoError(t, err)
	assert.Equal(t, files(), result.Written)
	assert.Equal(t, fmt.Sprint("succeeded 0 ", files()), text(t, pool, exported))
}
