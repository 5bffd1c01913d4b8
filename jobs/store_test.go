package jobs

import (
	"context"
	"testing"

	"github.com/riverqueue/river"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/tests3"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/extract"
	"github.com/opentax/tally/pipeline/load"
)

// A store that is unavailable at midnight costs no night: the other sources are loaded, and the
// run continues when the store is available.
func TestStoreUnavailableAtMidnight(t *testing.T) {
	t.Parallel()
	ctx, pool, store := context.Background(), newPool(t), tests3.New(t)
	store.Put("in/2024-05-10/a.csv", []byte(rows(9)))
	store.Put("in/2024-05-10/b.csv", []byte("wrong,header\n"))
	before := store.Objects()
	local := newSource(t, csvHeader+"L1,1,1.00,2024-05-01\n")
	local.Name = "disk"
	s := newService(t, pool, Config{Sources: []pipeline.Source{{Name: "s3", Path: store.At("in/{date}")}, local}})
	_, err := s.EnqueueDue(ctx, moment(t, "2024-05-10T00:00:00Z"))
	require.NoError(t, err)
	runs, err := s.EnqueueDue(ctx, moment(t, "2024-05-11T00:00:00Z"))
	require.NoError(t, err)
	require.Len(t, runs, 1)

	store.Stop()
	first := work(t, pool, s, runs[0], nil)
	assert.Equal(t, river.EventKindJobFailed, first.EventKind, "River tries again")
	run, err := s.Ledger().Run(ctx, runs[0].ID)
	require.NoError(t, err)
	assert.Equal(t, ledger.StatusRetrying, run.Status)
	assert.Contains(t, run.Error, "s3://tally/in/2024-05-10: the object store is unavailable")
	assert.NotContains(t, run.Error, "endpoint=")
	assert.Equal(t, "disk", text(t, pool, "SELECT string_agg(source, ',') FROM etl_files"), "the other source is loaded, and nothing has failed")

	store.Start()
	second := work(t, pool, s, runs[0], first.Job)
	assert.Equal(t, river.EventKindJobCancelled, second.EventKind, "a bad file is still one")
	assert.Equal(t, ledger.StatusFailed, status(t, s, runs[0].ID))
	assert.Equal(t, 10, count(t, pool, "SELECT count(*) FROM transactions"))
	assert.Equal(t, "s3://tally/in/2024-05-10/b.csv", text(t, pool, "SELECT string_agg(path, ',') FROM etl_files WHERE status = 'failed'"))
	assert.Equal(t, before, store.Objects(), "a source is only read")
}

// The same in the middle of the night, and with the schedule and River at work.
func TestStoreComesBack(t *testing.T) {
	t.Parallel()
	pool, store := newPool(t), tests3.New(t)
	store.Put("in/a.csv", []byte(rows(4)))
	store.Put("in/b.csv", []byte(rows(9)))
	real := load.New(pool, nil)
	loader := fakeLoader{func(ctx context.Context, req load.Request) (load.Result, error) {
		if req.Attempt == 1 && req.Path == store.At("in/b.csv") {
			store.Stop()
			defer store.Start()
		}
		return real.Load(ctx, req)
	}}
	s := newService(t, pool, Config{Sources: []pipeline.Source{{Name: "s3", Path: store.At("in/*.csv")}}, Loader: loader})
	require.NoError(t, s.Start(context.Background()))
	run := dueRun(t, s, "2024-05-10")
	awaitStatus(t, s, run.ID, ledger.StatusSucceeded)
	attempts, err := attemptsOf(context.Background(), s, run.ID)
	require.NoError(t, err)
	require.Len(t, attempts, 2)
	assert.Equal(t, ledger.StatusRetrying, attempts[0].Status)
	assert.Equal(t, 9, count(t, pool, "SELECT count(*) FROM transactions"))
	assert.Equal(t, 2, count(t, pool, "SELECT count(*) FROM etl_files WHERE status = 'loaded'"))
	assert.Zero(t, count(t, pool, "SELECT count(*) FROM etl_files WHERE status = 'failed'"))
}

// What the ledger says of a manual run holds no parameters, which name servers.
func TestManualRunOfObjects(t *testing.T) {
	t.Parallel()
	ctx, pool, store := context.Background(), newPool(t), tests3.New(t)
	store.Put("a.csv", []byte(rows(3)))
	s := newService(t, pool, Config{})
	result, err := s.Run(ctx, RunRequest{Paths: []bucket.Location{store.At("a.csv")}})
	require.NoError(t, err)
	assert.Equal(t, "s3://tally/a.csv", result.Files[0].Path)
	assert.Equal(t, "{s3://tally/a.csv}", text(t, pool, "SELECT paths::text FROM etl_runs"))
	missing, err := s.Run(ctx, RunRequest{Paths: []bucket.Location{store.At("none.csv")}})
	require.Error(t, err)
	require.Len(t, missing.Files, 1)
	assert.Equal(t, extract.CodeNotFound, missing.Files[0].ErrorCode)
	assert.Zero(t, count(t, pool, "SELECT count(*) FROM etl_logs WHERE message LIKE '%endpoint=%' OR attrs::text LIKE '%endpoint=%'"))
}

// A bad object is known again under its name, whatever the parameters of its URL.
func TestBadObjectFailsOnce(t *testing.T) {
	t.Parallel()
	ctx, pool, store := context.Background(), newPool(t), tests3.New(t)
	store.Put("in/a.csv", []byte("wrong,header\n1,2\n"))
	config := Config{Sources: []pipeline.Source{{Name: "s3", Path: store.At("in")}}}
	s := newService(t, pool, config)
	_, err := s.EnqueueDue(ctx, moment(t, "2024-05-10T00:00:00Z"))
	require.NoError(t, err)
	runs, err := s.EnqueueDue(ctx, moment(t, "2024-05-12T00:00:00Z"))
	require.NoError(t, err)
	require.Len(t, runs, 2)
	assert.Equal(t, river.EventKindJobCancelled, work(t, pool, s, runs[0], nil).EventKind)
	require.NoError(t, config.Sources[0].Path.UnmarshalText([]byte(store.URL("in")+"&use_path_style=true")))
	next := work(t, pool, newService(t, pool, config), runs[1], nil)
	assert.Equal(t, river.EventKindJobCompleted, next.EventKind, "it is skipped")
	assert.Equal(t, 1, count(t, pool, "SELECT count(*) FROM etl_files"))
}
