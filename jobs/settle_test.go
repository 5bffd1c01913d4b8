package jobs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/load"
)

const amountLast = "transaction_id,user_id,transaction_date,amount\n"

// settling is a source of files that must stand still for as long.
func settling(t *testing.T, settle time.Duration, contents ...string) pipeline.Source {
	t.Helper()
	source := newSource(t, contents...)
	source.Settle = &settle
	return source
}

func appendTo(path, text string) error {
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	return errors.Join(err, file.Close())
}

// TestHalfWrittenFile has a writer that pauses within an amount, for longer than a file must
// stand still whose last line is whole.
func TestHalfWrittenFile(t *testing.T) {
	t.Parallel()
	const settle = 150 * time.Millisecond
	pool, source := newPool(t), settling(t, settle, "", amountLast+"T2,8,2024-05-01,1\n")
	written, _ := source.Path.Join("a.csv").Local()
	require.NoError(t, os.Remove(written))
	require.NoError(t, appendTo(written, amountLast+"T1,7,2024-05-01,12"))
	go func() {
		time.Sleep(4 * settle)
		assert.NoError(t, appendTo(written, "3.45\n"))
	}()
	s := newService(t, pool, Config{Sources: []pipeline.Source{source}})
	result, err := s.Run(t.Context(), RunRequest{})
	require.NoError(t, err)
	require.Len(t, result.Files, 2)
	assert.Equal(t, "b.csv", filepath.Base(result.Files[0].Path), "the other file did not wait")
	assert.Equal(t, "T1 123.45, T2 1", text(t, pool, "SELECT string_agg(transaction_id || ' ' || amount, ', ' ORDER BY transaction_id) FROM transactions"))
	assert.Equal(t, 2, count(t, pool, "SELECT count(*) FROM etl_files"), "nothing was loaded of the half")
	assert.Equal(t, 1, count(t, pool, "SELECT count(*) FROM etl_logs WHERE message LIKE 'waiting for files%' AND attrs ->> 'path' = $1", written))
}

// A file that was modified in the future, by another machine's clock, waits by this one's.
func TestFileOfTheFuture(t *testing.T) {
	t.Parallel()
	const settle = 200 * time.Millisecond
	pool, source := newPool(t), settling(t, settle, rows(2))
	path, _ := source.Path.Join("a.csv").Local()
	ahead := time.Now().Add(time.Hour)
	require.NoError(t, os.Chtimes(path, ahead, ahead))
	s, begun := newService(t, pool, Config{Sources: []pipeline.Source{source}}), time.Now()
	result, err := s.Run(t.Context(), RunRequest{})
	require.NoError(t, err)
	require.Len(t, result.Files, 1)
	assert.Equal(t, int64(2), result.Files[0].Loaded)
	assert.GreaterOrEqual(t, time.Since(begun), settle)
	assert.Equal(t, 0, count(t, pool, "SELECT count(*) FROM etl_observations"), "its time may stay as it is when it changes")
}

// A file that grows on leaves the attempt, which is repeated; the others are loaded.
func TestFileThatGrowsOn(t *testing.T) {
	t.Parallel()
	pool, source := newPool(t), settling(t, 100*time.Millisecond, csvHeader, rows(3))
	path, _ := source.Path.Join("a.csv").Local()
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	require.NoError(t, appendTo(path, "A0,1,1,2024-05-01\n"))
	go func() {
		defer close(stopped)
		for i := 1; ctx.Err() == nil; i++ {
			time.Sleep(10 * time.Millisecond)
			assert.NoError(t, appendTo(path, "A"+strconv.Itoa(i)+",1,1,2024-05-01\n"))
		}
	}()
	s := newService(t, pool, Config{Sources: []pipeline.Source{source}})
	s.growingAfter = 300 * time.Millisecond
	result, err := s.Run(t.Context(), RunRequest{Retry: true})
	require.ErrorIs(t, err, errGrowing)
	require.ErrorContains(t, err, path)
	assert.Equal(t, ledger.StatusRetrying, result.Status)
	assert.Equal(t, "b.csv", filepath.Base(text(t, pool, "SELECT path FROM etl_files")))
	stop()
	await(t, stopped)
	result, err = s.Run(t.Context(), RunRequest{})
	require.NoError(t, err)
	require.Len(t, result.Files, 1)
	assert.Greater(t, result.Files[0].Loaded, int64(1))
}

// A file that grows between being chosen and the end of its reading is watched again.
func TestFileThatGrowsWhileItIsRead(t *testing.T) {
	t.Parallel()
	pool, source := newPool(t), settling(t, 100*time.Millisecond, rows(2))
	path, _ := source.Path.Join("a.csv").Local()
	real, tries := load.New(pool, nil), 0
	loader := fakeLoader{func(ctx context.Context, req load.Request) (load.Result, error) {
		if tries++; tries == 1 {
			require.NoError(t, appendTo(path, "L,1,5,2024-05-01\n"))
		}
		return real.Load(ctx, req)
	}}
	s := newService(t, pool, Config{Sources: []pipeline.Source{source}, Loader: loader})
	result, err := s.Run(t.Context(), RunRequest{})
	require.NoError(t, err)
	require.Len(t, result.Files, 1)
	assert.Equal(t, int64(3), result.Files[0].Loaded)
	assert.Equal(t, 2, tries)
	assert.Equal(t, 1, count(t, pool, "SELECT count(*) FROM etl_files"))
}

// What has stood still for long enough is read at once, whatever its last line.
func TestOldFilesDoNotWait(t *testing.T) {
	t.Parallel()
	pool, source := newPool(t), settling(t, time.Hour, csvHeader+"T,1,5,2024-05-01")
	s := newService(t, pool, Config{Sources: []pipeline.Source{source}})
	result, err := s.Run(t.Context(), RunRequest{Paths: []bucket.Location{source.Path}})
	require.NoError(t, err)
	assert.Equal(t, int64(1), result.Files[0].Loaded)
}
