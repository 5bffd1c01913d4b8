package main

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/jobs"
)

// The connections that the URL allows hold for a whole process, and all of them are given out.
func TestShare(t *testing.T) {
	t.Parallel()
	api := listenFlags{Listen: "127.0.0.1:0"}
	nightly, exporting := jobs.Config{}.PoolConns(), jobs.Config{ExportTo: bucket.Path("lake")}.PoolConns()
	for _, tc := range []struct {
		parts parts
		url   string
		want  shares
	}{
		{parts{}, "postgres://h/d", shares{20, 0}},
		{parts{work: true, workerConns: nightly}, "postgres://h/d?pool_max_conns=16", shares{15, 0}},
		{parts{listenFlags: api, workerConns: nightly}, "host=h pool_max_conns=16", shares{2, 13}},
		{parts{listenFlags: api, work: true, workerConns: nightly}, "postgres://h/d", shares{11, 7}},
		{parts{listenFlags: api, work: true, workerConns: exporting}, "postgres://h/d?pool_max_conns=20", shares{13, 5}},
	} {
		got, err := tc.parts.share(tc.url)
		require.NoError(t, err)
		assert.Equal(t, tc.want, got, tc.url)
	}
	for minimum, p := range map[string]parts{
		"4": {}, "7": {listenFlags: api},
		"10": {work: true, workerConns: nightly}, "12": {work: true, workerConns: exporting},
		"17": {listenFlags: api, work: true, workerConns: nightly}, "19": {listenFlags: api, work: true, workerConns: exporting},
	} {
		_, err := p.share("postgres://h/d?pool_max_conns=" + minimum)
		require.NoError(t, err, minimum)
		_, err = p.share("postgres://h/d?pool_max_conns=3")
		assert.ErrorAs(t, err, new(usageError))
		assert.ErrorContains(t, err, "needs at least "+minimum+" connections")
	}
}

// hang has whatever reads the table wait, until the test's end or the returned function.
func (p *program) hang(table string) (release func()) {
	p.t.Helper()
	conn, err := pgx.Connect(context.Background(), p.url)
	require.NoError(p.t, err)
	_, err = conn.Exec(context.Background(), "BEGIN; LOCK TABLE "+table+" IN ACCESS EXCLUSIVE MODE")
	require.NoError(p.t, err)
	release = sync.OnceFunc(func() { _ = conn.Close(context.Background()) })
	p.t.Cleanup(release)
	return release
}

// A thousand requests that hang for their whole time, and are repeated, take neither the connections
// of probes, ticks and loads nor more than the URL allows.
func TestHangingRequestsStarveNothing(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	p.write("inbox/a.csv", "transaction_id,user_id,amount,transaction_date\nT1,7,10.50,2024-01-05\n")
	sized := *p
	sized.url += "&pool_max_conns=17&application_name=starved"
	address := freeAddress(t)
	sized.start("up", "--listen", address)
	client := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 2000}}
	get := func(path string) int {
		response, err := client.Get("http://" + address + path)
		if err != nil {
			return 0
		}
		defer response.Body.Close()
		return response.StatusCode
	}
	require.Eventually(t, func() bool { return get("/readyz") == http.StatusOK }, testdb.Patience, 50*time.Millisecond)

	release := p.hang("etl_logs") // whose lines wait in a buffer
	var done atomic.Bool
	var requests sync.WaitGroup
	for range 1000 {
		requests.Go(func() {
			for !done.Load() {
				get("/runs/1/logs")
			}
		})
	}
	t.Cleanup(func() { done.Store(true); release(); requests.Wait() })
	time.Sleep(time.Second)
	p.exec("UPDATE etl_schedule SET last_date = last_date - 1") // a midnight for the next tick
	most := 0
	require.Eventually(t, func() bool {
		assert.Equal(t, http.StatusOK, get("/readyz"), "it does not wait for the others")
		n, err := strconv.Atoi(p.query("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'starved' AND datname = current_database()"))
		require.NoError(t, err)
		most = max(most, n)
		return p.query("SELECT count(*) FROM transactions") == "1"
	}, testdb.Patience, 200*time.Millisecond, "the tick and the load")
	assert.LessOrEqual(t, most, 17)
	assert.Greater(t, most, 6, "precondition: the requests hang")
}
