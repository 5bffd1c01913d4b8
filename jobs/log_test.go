package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/load"
)

func TestLogIsVisibleWhileTheRunGoesOn(t *testing.T) {
	t.Parallel()
	ctx, pool, reader := context.Background(), newPool(t), (*ledger.Store)(nil)
	proceed := make(chan struct{})
	loader := fakeLoader{func(ctx context.Context, req load.Request) (load.Result, error) {
		tx, err := pool.Begin(ctx)
		if err != nil {
			return load.Result{}, err
		}
		req.Logger.InfoContext(ctx, "half way", "rows", 7)
		<-proceed
		return load.Result{}, errors.Join(tx.Rollback(ctx), errors.New("broken"))
	}}
	s := newService(t, pool, Config{Sources: []pipeline.Source{newSource(t, "a")}, Loader: loader})
	reader = ledger.NewStore(pool)
	require.NoError(t, s.Start(ctx))
	run := dueRun(t, s, "2024-05-10")
	var seen ledger.LogLine
	require.Eventually(t, func() bool {
		lines, err := reader.Logs(ctx, run.ID, 0, 0)
		require.NoError(t, err)
		for _, l := range lines {
			if l.Message == "half way" {
				seen = l
			}
		}
		return seen.ID != 0
	}, testdb.Patience, 20*time.Millisecond)
	assert.Equal(t, ledger.StatusRunning, status(t, s, run.ID))
	assert.JSONEq(t, `{"rows":7}`, string(seen.Attrs))
	assert.Equal(t, "INFO", seen.Level)
	assert.WithinDuration(t, time.Now(), seen.At, testdb.Patience)
	close(proceed)
	awaitStatus(t, s, run.ID, ledger.StatusFailed)
	require.NoError(t, s.logs.Flush(ctx))
	lines, err := reader.Logs(ctx, run.ID, seen.ID, 0)
	require.NoError(t, err)
	require.NotEmpty(t, lines, "and the rest after it, although the load was rolled back")
	assert.Equal(t, "run ended", lines[len(lines)-1].Message)
}

func TestLogOutlivesAnOutage(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	s := newService(t, pool, Config{})
	logger := slog.New(s.logs.handler(logKey{1, 1}))
	allow := refuse(t, pool, "etl_logs", "57P03")
	for i := range logBuffer + 25 {
		logger.Info(fmt.Sprintf("line %d", i))
	}
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, s.logs.Flush(short), context.DeadlineExceeded)
	allow()
	require.NoError(t, s.logs.Flush(ctx))
	logger.Info("the end")
	require.NoError(t, s.logs.Flush(ctx))
	assert.Equal(t, logBuffer, count(t, pool, "SELECT count(*) FROM etl_logs WHERE message LIKE 'line %'"))
	assert.Zero(t, count(t, pool, `SELECT count(*) FROM (SELECT message, row_number() OVER (ORDER BY id) - 1 AS n FROM etl_logs WHERE message LIKE 'line %') l
		WHERE message <> 'line ' || n`), "in order")
	assert.Equal(t, "25", text(t, pool, "SELECT attrs ->> 'count' FROM etl_logs WHERE message LIKE 'log lines dropped%'"))
}

func TestLogTakesAnyText(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	s := newService(t, pool, Config{})
	logger := slog.New(s.logs.handler(logKey{5, 2})).With("file", "a\x00b").WithGroup("g").With("k", []string{"v"})
	logger.Debug("not kept")
	logger.Error("nul \x00 and \xff", "error", errors.New("bad \x00"), "took", time.Second)
	require.NoError(t, s.logs.Flush(ctx))
	lines, err := s.Ledger().Logs(ctx, 5, 0, 0)
	require.NoError(t, err)
	require.Len(t, lines, 1)
	assert.Equal(t, "nul \uFFFD and \uFFFD", lines[0].Message)
	assert.Equal(t, 2, lines[0].Attempt)
	assert.JSONEq(t, `{"file":"a\ufffdb","g":{"k":["v"],"error":"bad \ufffd","took":1000000000}}`, string(lines[0].Attrs))
}

func TestLogThatCannotBeWrittenIsDiscarded(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	s := newService(t, pool, Config{})
	logger := slog.New(s.logs.handler(logKey{1, 1}))
	allow := refuse(t, pool, "etl_logs", "23514")
	logger.Info("refused for good")
	require.NoError(t, s.logs.Flush(ctx), "nothing waits for what will never be")
	allow()
	logger.Info("kept")
	require.NoError(t, s.logs.Flush(ctx))
	assert.Equal(t, "kept", text(t, pool, "SELECT string_agg(message, ',') FROM etl_logs"))
}

func TestPagesOfTheLog(t *testing.T) {
	t.Parallel()
	ctx, pool := context.Background(), newPool(t)
	s := newService(t, pool, Config{})
	logger := slog.New(s.logs.handler(logKey{1, 1}))
	for i := range 250 {
		logger.Info(fmt.Sprint(i))
	}
	require.NoError(t, s.logs.Flush(ctx))
	var after int64
	var got []string
	for {
		page, err := s.Ledger().Logs(ctx, 1, after, 100)
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		for _, l := range page {
			got = append(got, l.Message)
		}
		after = page[len(page)-1].ID
	}
	require.Len(t, got, 250)
	assert.Equal(t, []string{"0", "249"}, []string{got[0], got[249]})
}
