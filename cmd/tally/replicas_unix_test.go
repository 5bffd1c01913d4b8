//go:build unix

package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/testdb"
)

// replicasFor is how long TestReplicas keeps servers under load; CI runs it for seconds.
var replicasFor = flag.Duration("replicas-for", 3*time.Second, "duration of the load of TestReplicas")

// staleness is the bound of the process in TestReplicas. The primary is lost for less.
const staleness = 30 * time.Second

// cluster is a primary with two standbys, of which the first is synchronous, and a process
// that serves reads from the standbys.
type cluster struct {
	*program
	primary, first, second *testdb.Server
	address                string
	client                 *http.Client
	loadError              string // what the last load has written to standard error
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{
		program: programOn(t, ""), primary: testdb.Own(t, map[string]string{"synchronous_commit": "on"}), address: freeAddress(t),
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}},
	}
	t.Cleanup(c.client.CloseIdleConnections)
	c.url = c.primary.URL()
	code, _, stderr := c.run("migrate")
	require.Equal(t, exitDone, code, stderr)
	c.first, c.second = c.primary.Standby(), c.primary.Standby()
	c.exec(fmt.Sprintf(`ALTER SYSTEM SET synchronous_standby_names = '"%s"'`, c.first.Name()))
	c.exec("SELECT pg_reload_conf()")
	c.url = hosts(t, c.primary, c.first) + "&target_session_attrs=read-write"
	c.env = []string{"DATABASE_READ_URL=" + hosts(t, c.first, c.second)}
	c.write("tally.yaml", fmt.Sprintf("max_staleness: %v\n", staleness))
	_, log := c.start("serve", "--listen", c.address)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of the log:\n%s", log.String()[max(0, log.Len()-5000):])
		}
	})
	status, body := get(t, "http://"+c.address+"/readyz")
	require.Equal(t, http.StatusOK, status, body)
	return c
}

// hosts is a URL with several servers, all of which have the first one's user and password.
func hosts(t *testing.T, servers ...*testdb.Server) string {
	t.Helper()
	var host, port []string
	for _, s := range servers {
		u, err := url.Parse(s.URL())
		require.NoError(t, err)
		host, port = append(host, u.Query().Get("host")), append(port, u.Query().Get("port"))
	}
	u, err := url.Parse(servers[0].URL())
	require.NoError(t, err)
	query := u.Query()
	query.Set("host", strings.Join(host, ","))
	query.Set("port", strings.Join(port, ","))
	u.RawQuery = query.Encode()
	return u.String()
}

func execOn(t *testing.T, s *testdb.Server, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.URL())
	require.NoError(t, err)
	defer conn.Close(context.WithoutCancel(t.Context()))
	_, err = conn.Exec(t.Context(), sql)
	require.NoError(t, err)
}

// reply is an answer with the headers of replicas.
type reply struct {
	status   int
	body     string
	epoch    int64
	servedBy string
	header   http.Header
}

func (c *cluster) ask(path, minEpoch string) (r reply, err error) {
	request, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, "http://"+c.address+path, http.NoBody)
	if err != nil {
		return r, err
	}
	if minEpoch != "" {
		request.Header.Set("Tally-Min-Epoch", minEpoch)
	}
	response, err := c.client.Do(request)
	if err != nil {
		return r, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	r = reply{status: response.StatusCode, body: string(body), servedBy: response.Header.Get("Tally-Served-By"), header: response.Header}
	r.epoch, _ = strconv.ParseInt(response.Header.Get("Tally-Epoch"), 10, 64)
	return r, err
}

func (c *cluster) get(path, minEpoch string) reply {
	c.t.Helper()
	r, err := c.ask(path, minEpoch)
	require.NoError(c.t, err)
	return r
}

// load loads a file with one transaction of user 7, and reports whether it was committed.
func (c *cluster) load(n int) bool {
	path := c.write(fmt.Sprintf("inbox/%d.csv", n), fmt.Sprintf("transaction_id,user_id,amount,transaction_date\nT%d,7,1.00,2024-01-05\n", n))
	code, _, stderr := c.run("run", path)
	c.loadError = stderr
	return code == exitDone
}

// An answer comes from a replica that has all commits, else from the primary, and says so;
// when the primary is lost and a standby is promoted, no read fails.
func TestReplicas(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	require.True(t, c.load(1), c.loadError)
	const path = "/transactions/7/summary"
	served := func(by string) {
		t.Helper()
		require.Eventually(t, func() bool {
			r := c.get("/transactions/7", "")
			return r.status == http.StatusOK && r.servedBy == by
		}, testdb.Patience, 10*time.Millisecond, by)
	}
	served("replica")
	now := c.query("SELECT epoch FROM summary_epoch")
	r := c.get(path, now)
	assert.Equal(t, http.StatusOK, r.status, r.body)
	assert.Equal(t, now, strconv.FormatInt(r.epoch, 10))
	again, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+c.address+path, http.NoBody)
	require.NoError(t, err)
	again.Header.Set("If-None-Match", r.header.Get("ETag"))
	unchanged, err := c.client.Do(again)
	require.NoError(t, err)
	require.NoError(t, unchanged.Body.Close())
	assert.Equal(t, http.StatusNotModified, unchanged.StatusCode)
	assert.Equal(t, now, unchanged.Header.Get("Tally-Epoch"))
	missing := c.get("/transactions/8/summary", "")
	assert.Equal(t, http.StatusNotFound, missing.status)
	assert.Equal(t, r.epoch, missing.epoch, "that there is nothing is an answer, too")
	assert.Equal(t, http.StatusUnprocessableEntity, c.get(path, "x").status)

	// A commit that no server has.
	stale := c.get(path, strconv.FormatInt(r.epoch+1, 10))
	assert.Equal(t, http.StatusServiceUnavailable, stale.status)
	assert.Equal(t, "2", stale.header.Get("Retry-After"))
	assert.Contains(t, stale.body, "/problems/stale")
	assert.Empty(t, stale.servedBy)

	// With no replica that has the last commit, the primary answers.
	execOn(t, c.first, "SELECT pg_wal_replay_pause()")
	execOn(t, c.second, "SELECT pg_wal_replay_pause()")
	require.True(t, c.load(2), c.loadError)
	for _, path := range []string{path, "/summaries/top", "/totals?by=month"} {
		r = c.get(path, strconv.FormatInt(r.epoch, 10))
		assert.Equal(t, "primary", r.servedBy)
		assert.Contains(t, r.body, `"total_transactions":2`, path)
	}
	execOn(t, c.first, "SELECT pg_wal_replay_resume()")
	served("replica")
	c.loseThePrimary()
}

// watched has the observations of the clients.
type watched struct {
	mu        sync.Mutex
	committed []time.Time // by number of transactions of user 7, when it was known to be
	requests  map[string]int
	oldest    time.Duration
	faults    []string
}

func (w *watched) commit() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.committed = append(w.committed, time.Now())
}

// answered checks a count of transactions that was asked for at a moment.
func (w *watched) answered(asked time.Time, r reply, count, minimum int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests[r.servedBy]++
	if count < minimum {
		w.faults = append(w.faults, fmt.Sprintf("%d transactions after %d (epoch %d)", count, minimum, r.epoch))
	}
	if count+1 < len(w.committed) { // the next one is missing
		w.oldest = max(w.oldest, asked.Sub(w.committed[count+1]))
	}
}

func (w *watched) fault(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, fmt.Sprintf(format, args...))
}

// loseThePrimary keeps clients asking while files are loaded, the primary is killed and the
// first standby promoted. The second standby is paused.
func (c *cluster) loseThePrimary() {
	t := c.t
	t.Helper()
	w := &watched{requests: map[string]int{}}
	w.commit() // of no transaction
	w.commit()
	w.commit() // those of TestReplicas
	ctx, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() { c.follow(ctx, i, w) })
	}
	var lost atomic.Bool
	clients.Go(func() { c.loadOn(ctx, w, &lost) })

	away := min(*replicasFor/3, staleness/3)
	time.Sleep((*replicasFor - away) / 2)
	lost.Store(true)
	c.primary.Kill()
	time.Sleep(away) // reads go on from the first standby
	post, err := c.client.Post("http://"+c.address+"/runs", "application/json", strings.NewReader("{}"))
	require.NoError(t, err)
	require.NoError(t, post.Body.Close())
	assert.Equal(t, http.StatusServiceUnavailable, post.StatusCode, "a write without a primary")
	ready := c.get("/readyz", "")
	assert.Equal(t, http.StatusOK, ready.status)
	assert.Contains(t, ready.body, `"primary"`, "what is degraded")
	execOn(t, c.first, "SELECT pg_promote()")
	lost.Store(false)
	time.Sleep((*replicasFor - away) / 2)
	stop()
	clients.Wait()

	t.Logf("%v: %d commits; answers %v; the oldest lacked a commit of %v before the request", *replicasFor, len(w.committed)-1, w.requests, w.oldest)
	for _, fault := range w.faults[:min(10, len(w.faults))] {
		t.Error(fault)
	}
	assert.Less(t, w.oldest, staleness)
	assert.ElementsMatch(t, []string{"primary", "replica"}, slices.Collect(maps.Keys(w.requests)))
	c.url = c.first.URL()
	assert.Equal(t, strconv.Itoa(len(w.committed)-1), c.query("SELECT count(*) FROM transactions"), "each file once")
	code, out, _ := c.run("verify")
	assert.Equal(t, exitDone, code, out)
}

// loadOn loads file after file. One whose commit is not known because the primary was lost is
// loaded again.
func (c *cluster) loadOn(ctx context.Context, w *watched, lost *atomic.Bool) {
	for n := 3; ctx.Err() == nil; {
		failing := lost.Load()
		switch {
		case c.load(n):
			w.commit()
			n++
		case ctx.Err() == nil && !failing && !lost.Load():
			time.Sleep(10 * time.Millisecond) // the end of the promotion
		}
	}
}

// follow is a client that never asks for less than what it has seen.
func (c *cluster) follow(ctx context.Context, i int, w *watched) {
	others := []string{"/totals?by=day", "/transactions/7?limit=1", "/summaries?user_id=7", "/summaries/top", "/rejects", "/runs", "/audit/head", "/history/T1",
		"/transactions/7/totals?by=day", "/transactions/7/summary?from=2024-01-02"}
	var epoch int64
	minimum := 2
	for n := i; ctx.Err() == nil; n++ {
		path := "/transactions/7/summary"
		if n%2 == 1 {
			path = others[n/2%len(others)]
		}
		asked := time.Now()
		r, err := c.ask(path, strconv.FormatInt(epoch, 10))
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			w.fault("%s: %v", path, err)
			continue
		case r.status != http.StatusOK:
			w.fault("%s after %v: %d %s", path, time.Since(asked), r.status, r.body)
			continue
		case r.epoch < epoch:
			w.fault("%s: epoch %d after %d", path, r.epoch, epoch)
		}
		epoch = r.epoch
		if count, ok := transactions(path, r.body); ok {
			w.answered(asked, r, count, minimum)
			minimum = max(minimum, count)
		}
		time.Sleep(time.Millisecond)
	}
}

// transactions is how many transactions of user 7 an answer has counted.
func transactions(path, body string) (n int, ok bool) {
	var answer struct {
		Total *int `json:"total_transactions"`
		Items []struct {
			Total *int `json:"total_transactions"`
		} `json:"items"`
	}
	if strings.HasPrefix(path, "/runs") || json.Unmarshal([]byte(body), &answer) != nil {
		return 0, false
	}
	switch {
	case answer.Total != nil:
		return *answer.Total, true
	case len(answer.Items) == 1 && answer.Items[0].Total != nil:
		return *answer.Items[0].Total, true
	}
	return 0, false
}
