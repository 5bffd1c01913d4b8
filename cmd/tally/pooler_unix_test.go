//go:build unix

package main

import (
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/testdb"
)

// serve and work with a pgbouncer in transaction mode, and a direct way for locks and notifications.
func TestBehindAPooler(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	direct := p.url
	pooler := testdb.NewBouncer(t, direct, 20)
	files := 8
	for i := range files {
		p.write(fmt.Sprintf("inbox/%d.csv", i), fmt.Sprintf("transaction_id,user_id,amount,transaction_date\nA%d,7,1.00,2024-01-05\nB%d,%d,2.50,2024-02-05\n", i, i, i+1))
	}

	p.url = pooler.URL
	code, _, stderr := p.run("work")
	assert.Equal(t, exitFailed, code, "locks would be lost")
	assert.Contains(t, stderr, "DATABASE_DIRECT_URL")

	p.env = []string{"DATABASE_DIRECT_URL=" + direct}
	address := freeAddress(t)
	serve, serveLog := p.start("serve", "--listen", address)
	work, workLog := p.start("work")
	p.url = direct // for the test's own queries
	url := "http://" + address
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("serve:\n%s\nwork:\n%s", serveLog, workLog)
		}
	})
	get(t, url+"/readyz")
	yesterday := (civil.Of(time.Now().UTC()) - 1).String()
	post(t, url+"/runs", `{"logical_date":"`+yesterday+`"}`)
	require.Eventually(t, func() bool {
		return p.query("SELECT count(*) FROM etl_files WHERE status = 'loaded'") == fmt.Sprint(files)
	}, testdb.Patience, 50*time.Millisecond, "%s", workLog)
	want := fmt.Sprintf(`{"user_id":7,"total_transactions":%d,"total_amount":%d.50,"average_transaction_amount":1.17}`+"\n", files+1, files+2)
	for range 3 {
		_, body := get(t, url+"/transactions/7/summary")
		assert.Equal(t, want, body)
	}
	for _, path := range []string{
		"/transactions/7", "/transactions/7/totals?by=day", "/transactions/7/totals?by=month&from=2024-01-02", "/transactions/7/summary?from=2024-01-02",
		"/transactions/7/summary?as_of=2024-01-02T00:00Z", "/totals?by=month", "/summaries?user_id=7", "/summaries/top", "/runs", "/runs/1/files", "/rejects", "/history/A1",
	} {
		status, body := get(t, url+path)
		assert.Less(t, status, http.StatusInternalServerError, path+body)
	}
	_, metrics := get(t, url+"/metrics")
	assert.Contains(t, metrics, "tally_summary_cache_listening 1")

	for _, process := range []*exec.Cmd{serve, work} {
		require.NoError(t, process.Process.Signal(syscall.SIGTERM))
		require.NoError(t, process.Wait()) // the clean-up logs both
	}
	assert.NotContains(t, serveLog.String()+workLog.String(), "level=ERROR")
	p.url, p.env = pooler.URL, nil
	for _, args := range [][]string{{"run", filepath.Join(p.dir, "inbox/0.csv")}, {"rebuild"}} {
		code, _, stderr := p.run(args...)
		assert.Equal(t, exitFailed, code, args)
		assert.Contains(t, stderr, "DATABASE_DIRECT_URL", args)
	}
	for _, args := range [][]string{{"verify"}, {"export", "--to", filepath.Join(p.dir, "lake")}, {"status"}} {
		code, out, stderr := p.run(args...)
		assert.Equal(t, exitDone, code, out+stderr)
	}
	p.url = direct
	assert.Equal(t, "0", p.query("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"))
}

// A new database is migrated past the pooler, or not at all: the lock of migrations would be lost.
func TestMigrationPastAPooler(t *testing.T) {
	t.Parallel()
	p := programOn(t, testdb.URL(t, bare{}))
	direct := p.url
	p.url = testdb.NewBouncer(t, direct, 20).URL
	code, _, stderr := p.run("migrate")
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, stderr, "DATABASE_DIRECT_URL")
	p.env = []string{"DATABASE_DIRECT_URL=" + direct}
	address := freeAddress(t)
	serve, log := p.start("serve", "--listen", address)
	require.Eventually(t, func() bool {
		response, err := http.Get("http://" + address + "/readyz") //nolint:gosec // the test's own address
		return err == nil && response.Body.Close() == nil && response.StatusCode == http.StatusOK
	}, testdb.Patience, 20*time.Millisecond, "%s", log)
	require.NoError(t, serve.Process.Signal(syscall.SIGTERM))
	require.NoError(t, serve.Wait())
}

func post(t *testing.T, url, body string) {
	t.Helper()
	response, err := http.Post(url, "application/json", strings.NewReader(body)) //nolint:gosec // the test's own address
	require.NoError(t, err)
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Less(t, response.StatusCode, 300, string(answer))
}
