package jobs

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/load"
)

func TestRunOfPaths(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	clock := newFakeClock(moment(t, "2024-05-11T03:00:00Z"))
	s := newService(t, pool, Config{Clock: clock, TimeZone: zone(t, "America/New_York")})
	dir := newSource(t, rows(4), rows(2)).Path
	var progress []string
	result, err := s.Run(ctx, RunRequest{
		Paths:    []bucket.Location{dir.Join("a.csv"), dir.Join("b*.csv")},
		Progress: func(p pipeline.Progress) { progress = append(progress, filepath.Base(p.Path)) },
	})
	require.NoError(t, err)
	assert.Equal(t, ledger.StatusSucceeded, result.Status)
	require.Len(t, result.Files, 2)
	assert.Equal(t, []int64{4, 0}, []int64{result.Files[0].Loaded, result.Files[1].Loaded})
	assert.Equal(t, "2024-05-09", result.LogicalDate.String(), "in New York the 10th goes on")
	assert.Contains(t, progress, "b.csv")
	assert.Equal(t, "manual cli", text(t, pool, "SELECT kind || ' ' || requested_by FROM etl_runs"))
	assert.Equal(t, 1, count(t, pool, "SELECT count(*) FROM audit_events WHERE action = 'run.requested' AND actor = 'cli'"))
	assert.NotZero(t, count(t, pool, "SELECT count(*) FROM etl_logs WHERE message = 'run ended'"), "the log is written when Run returns")

	again, err := s.Run(ctx, RunRequest{Paths: []bucket.Location{dir.Join("a.csv")}})
	require.NoError(t, err)
	assert.Equal(t, load.StatusUnchanged, again.Files[0].Status)
	assert.NotEqual(t, result.RunID, again.RunID)
}

func TestRunOfWrongPaths(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	source := newSource(t, "bad\n", rows(2))
	s := newService(t, pool, Config{Sources: []pipeline.Source{source}})
	missing := source.Path.Join("missing.csv")
	result, err := s.Run(ctx, RunRequest{Paths: []bucket.Location{missing, source.Path}, Retry: true})
	var files *FilesError
	require.ErrorAs(t, err, &files)
	require.Len(t, files.Failed, 2)
	require.Len(t, result.Files, 3)
	assert.Equal(t, "not_found", result.Files[0].ErrorCode)
	assert.Equal(t, int64(2), result.Files[2].Loaded)
	assert.Equal(t, ledger.StatusFailed, status(t, s, result.RunID))
	assert.Equal(t, 1, result.Attempt, "bad files are not retried")

	_, err = s.Run(ctx, RunRequest{Paths: []bucket.Location{missing}, Source: "nowhere"})
	require.ErrorContains(t, err, `"nowhere"`)
	_, err = s.Run(ctx, RunRequest{Paths: []bucket.Location{missing}, Change: func(s *pipeline.Source) { s.Rules.Slash = "ymd" }})
	require.ErrorContains(t, err, "slash")
}

func TestRunOfADate(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	clock := newFakeClock(moment(t, "2024-05-11T12:00:00Z"))
	source := newSource(t, rows(3))
	s := newService(t, pool, Config{Sources: []pipeline.Source{source}, Clock: clock})
	first, err := s.Run(ctx, RunRequest{})
	require.NoError(t, err)
	assert.Equal(t, "2024-05-10", first.LogicalDate.String())
	assert.Equal(t, int64(3), first.Files[0].Loaded)
	second, err := s.Run(ctx, RunRequest{})
	require.NoError(t, err)
	assert.Equal(t, []int64{first.RunID, 2}, []int64{second.RunID, int64(second.Attempt)}, "one run a date, tried anew")
	assert.Empty(t, second.Files, "none was read")
	assert.Equal(t, 1, second.Unchanged)
	assert.Equal(t, 2, count(t, pool, "SELECT count(*) FROM audit_events WHERE action = 'run.requested'"))

	today := date(t, "2024-05-11")
	_, err = s.Run(ctx, RunRequest{Date: &today})
	require.ErrorIs(t, err, ledger.ErrNotEnded)

	lock, err := lockRun(ctx, pool, first.RunID)
	require.NoError(t, err)
	_, err = s.Run(ctx, RunRequest{})
	require.ErrorIs(t, err, ErrRunBusy)
	lock.release(ctx)
}

func TestRunRetriesAnOutage(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	failures := 1
	loader := fakeLoader{func(_ context.Context, req load.Request) (load.Result, error) {
		if failures > 0 {
			failures--
			return load.Result{}, errUnavailable()
		}
		return loaded(req), nil
	}}
	s := newService(t, pool, Config{Loader: loader})
	path := newSource(t, "a").Path.Join("a.csv")
	result, err := s.Run(ctx, RunRequest{Paths: []bucket.Location{path}, Retry: true})
	require.NoError(t, err)
	assert.Equal(t, 2, result.Attempt)
	failures = 1
	result, err = s.Run(ctx, RunRequest{Paths: []bucket.Location{path}})
	require.ErrorContains(t, err, "57P01")
	assert.Equal(t, ledger.StatusRetrying, result.Status)
}

func TestRunIsInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	pool := newPool(t)
	real := load.New(pool, nil)
	loader := fakeLoader{func(ctx context.Context, req load.Request) (load.Result, error) {
		cancel()
		return real.Load(ctx, req)
	}}
	s := newService(t, pool, Config{Loader: loader})
	result, err := s.Run(ctx, RunRequest{Paths: []bucket.Location{newSource(t, rows(2)).Path}, Retry: true})
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, ledger.StatusInterrupted, result.Status)
	assert.Equal(t, ledger.StatusInterrupted, status(t, s, result.RunID), "recorded although the context has ended")
	assert.Zero(t, count(t, pool, "SELECT count(*) FROM transactions"))
}

func TestBackfill(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	clock := newFakeClock(moment(t, "2024-05-20T12:00:00Z"))
	s := newService(t, pool, Config{Clock: clock, Worker: "host:1"})
	dueRun(t, s, "2024-05-11")
	runs, err := s.Backfill(ctx, date(t, "2024-05-10"), date(t, "2024-05-12"), "ann")
	require.NoError(t, err)
	require.Len(t, runs, 3)
	assert.Equal(t, []bool{true, false, true}, []bool{runs[0].Created, runs[1].Created, runs[2].Created})
	assert.Equal(t, "test", runs[1].RequestedBy, "as it was")
	assert.Equal(t, 3, count(t, pool, "SELECT count(*) FROM river_job"))
	assert.Equal(t, "backfill ann host:1", text(t, pool, `SELECT detail ->> 'kind' || ' ' || actor || ' ' || origin FROM audit_events WHERE subject = $1::text`, runs[0].ID))

	_, err = s.Backfill(ctx, date(t, "2024-05-19"), date(t, "2024-05-20"), "ann")
	require.ErrorIs(t, err, ledger.ErrNotEnded)
	_, err = s.Backfill(ctx, date(t, "2024-05-12"), date(t, "2024-05-10"), "ann")
	require.Error(t, err)
	_, err = s.Backfill(ctx, date(t, "1990-01-01"), date(t, "2024-05-10"), "ann")
	require.ErrorContains(t, err, "at most")
	assert.Equal(t, "05-10 05-11 05-12", dates(t, pool))
}

func TestLedgerPages(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	s := newService(t, pool, Config{})
	_, err := s.Ledger().Run(ctx, 1)
	require.ErrorIs(t, err, ledger.ErrRunNotFound)
	empty, err := s.Ledger().Runs(ctx, 0, 10)
	require.NoError(t, err)
	assert.NotNil(t, empty)
	assert.Empty(t, empty)

	dir := newSource(t, csvHeader+"A,1,1.5,2024-05-01\nA,1,1.5,2024-05-01\nA,1,2,2024-05-01\nB,1,x,2024-05-01\n", rows(1)).Path
	result, err := s.Run(ctx, RunRequest{Paths: []bucket.Location{dir}, RequestedBy: "ann"})
	require.NoError(t, err)
	runs, err := s.Backfill(ctx, date(t, "2024-05-10"), date(t, "2024-05-12"), "ann")
	require.NoError(t, err)
	page, err := s.Ledger().Runs(ctx, runs[2].ID, 2)
	require.NoError(t, err)
	assert.Equal(t, []int64{runs[1].ID, runs[0].ID}, []int64{page[0].ID, page[1].ID})
	page, err = s.Ledger().Runs(ctx, runs[0].ID, 0)
	require.NoError(t, err)
	require.Len(t, page, 1)
	assert.Equal(t, []string{dir.String()}, page[0].Paths)
	assert.WithinDuration(t, time.Now(), page[0].FinishedAt, time.Minute)

	files, err := s.Ledger().Files(ctx, result.RunID, 0, 1)
	require.NoError(t, err)
	require.Len(t, files, 1)
	assert.Equal(t, map[string]int64{"invalid_amount": 1}, files[0].Faults)
	assert.Len(t, files[0].SHA256, 64)
	assert.Equal(t, "1.5", files[0].TotalAmount.String())
	rest, err := s.Ledger().Files(ctx, result.RunID, files[0].ID, 0)
	require.NoError(t, err)
	assert.Len(t, rest, 1)

	rejects, err := s.Ledger().Rejects(ctx, ledger.RejectQuery{RunID: result.RunID, Limit: 2})
	require.NoError(t, err)
	assert.Equal(t, []string{"duplicate", "conflict"}, []string{rejects[0].Outcome, rejects[1].Outcome})
	assert.Equal(t, int64(2), rejects[0].KeptLine)
	rejects, err = s.Ledger().Rejects(ctx, ledger.RejectQuery{RunID: result.RunID, AfterFile: rejects[1].FileID, AfterLine: rejects[1].Line, Limit: 2})
	require.NoError(t, err)
	require.Len(t, rejects, 1)
	assert.Equal(t, []string{"invalid_amount"}, rejects[0].Faults)
	conflicts, err := s.Ledger().Rejects(ctx, ledger.RejectQuery{RunID: result.RunID, Outcome: "conflict"})
	require.NoError(t, err)
	assert.Len(t, conflicts, 1)
}
