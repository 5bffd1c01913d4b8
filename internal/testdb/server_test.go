//go:build unix

package testdb_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/testdb"
)

func TestOwnServerStopAndKill(t *testing.T) {
	t.Parallel()
	own := testdb.Own(t, map[string]string{"work_mem": "1MB", "synchronous_commit": "on"})
	url := own.URL()
	assert.Equal(t, "1MB", ask(t, own, "SHOW work_mem"))
	connected, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	_, err = connected.Exec(t.Context(), "CREATE TABLE kept AS SELECT 'here' AS text")
	require.NoError(t, err)

	for name, stop := range map[string]func(){"stop": own.Stop, "kill": own.Kill} {
		stop()
		_, err = pgx.Connect(t.Context(), url)
		require.Error(t, err, name)
		own.Start()
		assert.Equal(t, url, own.URL())
		assert.Equal(t, "here", ask(t, own, "SELECT text FROM kept"), name)
	}
	_, err = connected.Exec(t.Context(), "SELECT 1")
	assert.Error(t, err, "Stop and Kill disconnect clients")
}

func TestOwnServerPause(t *testing.T) {
	t.Parallel()
	own := testdb.Own(t, nil)
	connected, err := pgx.Connect(t.Context(), own.URL())
	require.NoError(t, err)
	t.Cleanup(func() { _ = connected.Close(context.Background()) })
	own.Pause()
	answered := make(chan error, 1)
	go func() {
		_, err := connected.Exec(context.Background(), "SELECT 1")
		answered <- err
	}()
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err = pgx.Connect(short, own.URL())
	require.ErrorIs(t, err, context.DeadlineExceeded, "a connection is accepted without a response")
	select {
	case err := <-answered:
		t.Fatalf("a paused server responded: %v", err)
	default:
	}
	own.Resume()
	require.NoError(t, <-answered, "the query continues")
}

func ask(t *testing.T, own *testdb.Server, query string) (answer string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), own.URL())
	require.NoError(t, err)
	defer conn.Close(t.Context())
	require.NoError(t, conn.QueryRow(t.Context(), query).Scan(&answer))
	return answer
}
