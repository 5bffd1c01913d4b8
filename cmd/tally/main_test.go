package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/jobs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/internal/tests3"
	"github.com/opentax/tally/migrations"
	"github.com/opentax/tally/summaries"
)

// asTally makes the test binary the program itself, so that tests can start it
// as a process of its own and kill it.
const asTally = "TALLY_TEST_AS_TALLY"

func TestMain(m *testing.M) {
	if os.Getenv(asTally) != "" {
		main()
	}
	if err := tests3.Setenv(); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// program is one database and data folder to run the program on.
type program struct {
	t   *testing.T
	url string
	dir string
	env []string // of processes, besides this one's own

	pools *pools
}

func newProgram(t *testing.T) *program {
	t.Helper()
	return programOn(t, testdb.URL(t, migrations.Schema{}))
}

func programOn(t *testing.T, url string) *program {
	t.Helper()
	return &program{t: t, url: url, dir: t.TempDir(), pools: &pools{byURL: map[string]*pgxpool.Pool{}}}
}

// pools are for a test's own queries, by URL: a connection for each query would take more time than
// all else.
type pools struct {
	mu    sync.Mutex
	byURL map[string]*pgxpool.Pool
}

func (p *program) pool() *pgxpool.Pool {
	p.t.Helper()
	p.pools.mu.Lock()
	defer p.pools.mu.Unlock()
	pool := p.pools.byURL[p.url]
	if pool == nil {
		config, err := pgxpool.ParseConfig(p.url)
		require.NoError(p.t, err)
		config.PrepareConn = func(ctx context.Context, conn *pgx.Conn) (bool, error) { return conn.Ping(ctx) == nil, nil }
		pool, err = pgxpool.NewWithConfig(context.Background(), config)
		require.NoError(p.t, err)
		p.t.Cleanup(pool.Close)
		p.pools.byURL[p.url] = pool
	}
	return pool
}

// run is a call of the program within this process.
func (p *program) run(args ...string) (code int, stdout, stderr string) {
	p.t.Helper()
	var out, err bytes.Buffer
	code = run(p.t.Context(), append([]string{"--database-url", p.url, "--data", p.dir}, args...), &out, &err)
	return code, out.String(), err.String()
}

// start is a process of the program.
func (p *program) start(args ...string) (command *exec.Cmd, stderr *bytes.Buffer) {
	p.t.Helper()
	stderr = &bytes.Buffer{}
	command = exec.Command(os.Args[0], append(args, "--database-url", p.url, "--data", p.dir)...)
	command.Env = slices.Concat(os.Environ(), []string{asTally + "=1"}, p.env)
	command.Stdout, command.Stderr = &bytes.Buffer{}, stderr
	require.NoError(p.t, command.Start())
	p.t.Cleanup(func() {
		_ = command.Process.Kill() // gone already, if all went well
		_ = command.Wait()
	})
	return command, stderr
}

func (p *program) write(name, content string) string {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	require.NoError(p.t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(p.t, os.WriteFile(path, []byte(content), 0o600))
	longAgo := time.Now().Add(-time.Hour) // its writer has finished
	require.NoError(p.t, os.Chtimes(path, longAgo, longAgo))
	return path
}

func (p *program) query(sql string) (text string) {
	p.t.Helper()
	require.NoError(p.t, p.pool().QueryRow(p.t.Context(), "SELECT ("+sql+")::text").Scan(&text), sql)
	return text
}

func (p *program) exec(sql string) {
	p.t.Helper()
	_, err := p.pool().Exec(p.t.Context(), sql)
	require.NoError(p.t, err)
}

const sheet = `transaction_id,user_id,amount,transaction_date
T1,7,10.50,2024-01-05
T2,7,-0.25,2024/2/5
T3,8,,2024-01-05
`

func TestRunPrintsItsResult(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	path := p.write("a.csv", sheet)
	code, out, _ := p.run("run", "--json", path)
	require.Equal(t, exitDone, code)
	var result struct {
		Files []map[string]any `json:"files"`
	}
	require.NoError(t, json.Unmarshal([]byte(out), &result), out)
	require.Len(t, result.Files, 1)
	for key, want := range map[string]any{
		"path": path, "status": "loaded", "read": 3.0, "loaded": 2.0, "duplicate": 0.0, "conflict": 0.0, "rejected": 1.0,
		"faults": map[string]any{"missing_amount": 1.0}, "total_amount": 10.25, "users": 1.0,
	} {
		assert.Equal(t, want, result.Files[0][key], key)
	}

	code, out, _ = p.run("run", p.write("b.csv", sheet))
	assert.Equal(t, exitDone, code)
	assert.Contains(t, out, "unchanged: "+filepath.Join(p.dir, "b.csv")+" has the content of "+path)

	code, out, _ = p.run("run", p.write("bad.csv", "a,b\n1,2\n"))
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, out, "missing_column")
	code, _, stderr := p.run("run", filepath.Join(p.dir, "nowhere.csv"))
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, stderr, "nowhere.csv")
}

func TestVerifyNamesTheUser(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	p.run("run", p.write("a.csv", sheet))
	code, out, _ := p.run("verify")
	assert.Equal(t, exitDone, code)
	assert.Equal(t, "clean: 2 transactions, 1 users, 2 days, 1 files\n", out)

	p.exec("BEGIN; SET LOCAL tally.writer = 'tally'; UPDATE user_summary SET total_amount = total_amount + 1; COMMIT")
	code, out, _ = p.run("verify")
	assert.Equal(t, exitFailed, code)
	assert.Equal(t, "user_summary, user_id 7: total_amount is 11.25, recomputed 10.25\nnext: tally rebuild\n1 differences in 2 transactions, 1 users, 2 days, 1 files\n", out)
	code, out, _ = p.run("verify", "--json")
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, out, `"key": "user_id 7"`)
	code, out, _ = p.run("rebuild", "weekly")
	assert.Equal(t, exitUsage, code, out)
	code, out, _ = p.run("rebuild", "user_summary")
	assert.Equal(t, exitDone, code)
	assert.Contains(t, out, "user_summary: 1 rows stored, 0 removed\n")
	code, out, _ = p.run("verify")
	assert.Equal(t, exitDone, code, out)
	assert.Equal(t, "clean 0, drift 1, drift 1, clean 0", p.query("SELECT string_agg(status || ' ' || differences, ', ' ORDER BY id) FROM etl_verifications"))
	assert.JSONEq(t, `[{"table": "user_summary", "stored": 1, "removed": 0}]`,
		p.query("SELECT string_agg(detail ->> 'tables', ' ') FROM audit_events WHERE action = 'rollups.rebuilt'"))
}

func TestAuditNamesTheEntry(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	p.run("run", p.write("a.csv", sheet))
	code, head, _ := p.run("audit", "head")
	assert.Equal(t, exitDone, code)
	assert.Regexp(t, "^1:[0-9a-f]{64}\n$", head)
	code, out, _ := p.run("audit", "verify", "--head", strings.TrimSpace(head))
	assert.Equal(t, exitDone, code)
	assert.Equal(t, "clean: 1 entries, head "+head, out)

	p.exec("ALTER TABLE etl_files DISABLE TRIGGER append_only; UPDATE etl_files SET path = 'b.csv'")
	code, out, _ = p.run("audit", "verify")
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, out, "entry 1: file 1 was sealed with path ")
	code, out, _ = p.run("audit", "verify", "--json")
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, out, `"number": 1`)
	code, _, message := p.run("audit", "verify", "--head", "1")
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, message, "want NUMBER:HASH")
}

func TestWrongUse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	settings := filepath.Join(dir, "settings.yaml")
	require.NoError(t, os.WriteFile(settings, []byte("time_zone: Mars/Olympus\n"), 0o600))
	typo := filepath.Join(dir, "typo.yaml")
	require.NoError(t, os.WriteFile(typo, []byte("sources:\n  - name: a\n    path: b\n    reject_limt: 1\n"), 0o600))
	policy := filepath.Join(dir, "policy.yaml")
	require.NoError(t, os.WriteFile(policy, []byte("catch_up: sometimes\n"), 0o600))
	limit := filepath.Join(dir, "limit.yaml")
	require.NoError(t, os.WriteFile(limit, []byte("catch_up_limit: 0\n"), 0o600))
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"run", "--config", policy}, "policy.yaml: catch_up is"},
		{[]string{"run", "--config", limit}, "limit.yaml: catch_up_limit is 0"},
		{[]string{"up", "--listen", "nonsense"}, "--listen"},
		{[]string{"backfill", "--from", "2024-02-01", "--to", "2024-01-01"}, "--from 2024-02-01 is after --to 2024-01-01"},
		{[]string{"dance"}, "dance"},
		{[]string{"run", "--no-such-flag"}, "no-such-flag"},
		{[]string{"run", "--date", "2024-13-01"}, "--date"},
		{[]string{"run", "--reject-limit", "many", "a.csv"}, "reject_limit"},
		{[]string{"run", "--slash", "ymd", "a.csv"}, "slash"},
		{[]string{"run", "--source", "nobody", "a.csv"}, `"nobody"`},
		{[]string{"generate", "--users", "0"}, "--users"},
		{[]string{"backfill", "--from", "x", "--to", "2024-01-01"}, "--from"},
		{[]string{"run", "--config", settings}, "time_zone"},
		{[]string{"run", "--config", typo}, "reject_limt"},
		{[]string{"run", "--config", filepath.Join(dir, "none.yaml")}, "none.yaml"},
	} {
		var out, stderr bytes.Buffer
		code := run(t.Context(), append(c.args, "--data", dir), &out, &stderr)
		assert.Equal(t, exitUsage, code, "%v: %s", c.args, stderr.String())
		assert.Contains(t, stderr.String(), c.says, c.args)
		assert.Empty(t, out.String(), c.args)
	}
}

func TestGenerateIsTheSameForTheSameSeed(t *testing.T) {
	t.Parallel()
	generate := func(seed string) string {
		var out, stderr bytes.Buffer
		require.Equal(t, exitDone, run(t.Context(), []string{"generate", "--rows", "500", "--seed", seed}, &out, &stderr), stderr.String())
		return out.String()
	}
	first := generate("4")
	assert.Equal(t, first, generate("4"))
	assert.NotEqual(t, first, generate("5"))
	assert.Equal(t, 501, strings.Count(first, "\n"))
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

// get asks until the server answers.
func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	require.Eventually(t, func() bool {
		response, err := http.Get(url)
		if err != nil {
			return false
		}
		content, err := io.ReadAll(response.Body)
		status, body = response.StatusCode, string(content)
		return assert.NoError(t, err) && assert.NoError(t, response.Body.Close())
	}, testdb.Patience, 20*time.Millisecond, url)
	return status, body
}

// The whole program as a process: it serves what it loaded, and SIGTERM ends it.
func TestUpServesTheSample(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	address := freeAddress(t)
	up, stderr := p.start("up", "--sample", "--listen", address)
	status, body := get(t, "http://"+address+"/readyz")
	assert.Equal(t, http.StatusOK, status, body)
	assert.JSONEq(t, `{"status":"ready"}`, body, "what is still starting is not missing")
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	status, body = get(t, "http://"+address+"/transactions/1001/summary")
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, string(readme), strings.TrimSpace(body), "what the README prints")
	status, _ = get(t, "http://"+address+"/transactions/2147483647/summary")
	assert.Equal(t, http.StatusNotFound, status)
	status, body = get(t, "http://"+address+"/riverui/")
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, body, "<html")
	status, body = get(t, "http://"+address+"/riverui/api/jobs?state=completed")
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, body, `"kind":"etl_run"`, "the sample is a job of the workers, with its output")
	status, body = get(t, "http://"+address+"/riverui/api/jobs/1")
	assert.Equal(t, http.StatusOK, status)
	assert.Regexp(t, `read\W+10000\b`, body)
	status, body = get(t, "http://"+address+"/runs/1/files")
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, body, `"read":10000`)
	status, body = get(t, "http://"+address+"/runs/1/logs")
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, body, "file loaded")

	require.NoError(t, up.Process.Signal(syscall.SIGTERM))
	require.NoError(t, up.Wait(), stderr.String())
	assert.NotContains(t, stderr.String(), "not ready")
	assert.Contains(t, stdout(up), "run 1, ")
	assert.Contains(t, stdout(up), "rejected of ")
	code, out, _ := p.run("verify")
	assert.Equal(t, exitDone, code, out)
}

// Parts that are missing count as degraded once they have had the time to start.
func TestDegradedLeavesPartsTimeToStart(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t, migrations.Schema{})
	service, err := jobs.New(pool, jobs.Config{})
	require.NoError(t, err)
	cache, err := summaries.NewCache(summaries.CacheConfig{Store: summaries.NewStore(pool), Connect: func(context.Context) (*pgx.Conn, error) {
		return nil, errors.New("no listener")
	}})
	require.NoError(t, err)
	a := &application{jobs: service, cache: cache}
	require.NoError(t, a.degraded(t.Context(), startGrace-1))
	err = a.degraded(t.Context(), startGrace)
	require.ErrorContains(t, err, "schedule")
	require.ErrorContains(t, err, "listener")
}

// stdout is what a process that has ended has printed.
func stdout(command *exec.Cmd) string { return command.Stdout.(*bytes.Buffer).String() }

// Invariants 3 and 6, for real: the process is killed in the middle of the
// night's load, and the next one finishes it within a minute.
func TestKilledInTheMiddleOfTheNight(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	var big bytes.Buffer
	require.Equal(t, exitDone, run(t.Context(), []string{"generate", "--rows", "300000", "--users", "30000"}, &big, io.Discard))
	p.write("inbox/big.csv", big.String())
	yesterday := (civil.Of(time.Now().UTC()) - 1).String()
	code, _, stderr := p.run("backfill", "--from", yesterday, "--to", yesterday)
	require.Equal(t, exitDone, code, stderr)

	first, _ := p.start("work")
	require.Eventually(t, func() bool {
		return p.query("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query ILIKE 'copy%' AND state = 'active'") != "0"
	}, testdb.Patience, 5*time.Millisecond, "the load is going on")
	require.NoError(t, first.Process.Kill())
	_ = first.Wait() // killed
	assert.Equal(t, "0 0 0", p.query("SELECT (SELECT count(*) FROM transactions) || ' ' || (SELECT count(*) FROM etl_files) || ' ' || (SELECT count(*) FROM user_summary)"))

	p.start("work")
	require.Eventually(t, func() bool {
		return p.query("SELECT status FROM etl_run_status") == "succeeded"
	}, testdb.Patience, 100*time.Millisecond)
	assert.Equal(t, "lost,succeeded", p.query("SELECT string_agg(status, ',' ORDER BY attempt) FROM etl_outcomes"))
	assert.Equal(t, "300000", p.query("SELECT sum(read) FROM etl_files"))
	code, out, _ := p.run("verify")
	assert.Equal(t, exitDone, code, out)
}

// A process that serves is notified of loads that others commit, and never repeats what it
// kept from before one.
func TestServeIsNotifiedOfLoads(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	require.Equal(t, exitDone, first(p.run("run", p.write("a.csv", sheet))))
	address := freeAddress(t)
	serve, stderr := p.start("serve", "--listen", address)
	url := "http://" + address + "/transactions/7/summary"
	_, body := get(t, url)
	assert.Contains(t, body, `"total_amount":10.25`)
	get(t, url)
	require.Equal(t, exitDone, first(p.run("run", p.write("b.csv", "transaction_id,user_id,amount,transaction_date\nT9,7,1.00,2024-01-06\n"))))
	require.Eventually(t, func() bool {
		_, body = get(t, url)
		return strings.Contains(body, `"total_amount":11.25`)
	}, testdb.Patience, 10*time.Millisecond, "the answer from memory is never dropped")

	status, _ := get(t, "http://"+address+"/transactions/9/summary")
	assert.Equal(t, http.StatusNotFound, status)
	require.NoError(t, serve.Process.Signal(syscall.SIGTERM))
	require.NoError(t, serve.Wait(), stderr)
	assert.Contains(t, stderr.String(), "status=404", "the last request's line, which was waiting for others")
	require.Eventually(t, func() bool { // PostgreSQL takes a moment to notice
		return p.query(others) == "0"
	}, testdb.Patience, 20*time.Millisecond, "it has not hung up")
}

// others counts the other sessions of the database, without a cluster's own.
const others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name NOT ILIKE 'citus%'"

func first(code int, _, _ string) int { return code }
