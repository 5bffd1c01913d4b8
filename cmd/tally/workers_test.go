package main

import (
	"fmt"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/testdb"
)

// Four workers as processes, as on four machines, with 40 files in four nights: each is killed
// once in the middle of its work and started again. Each file is loaded once, and all is exact.
func TestWorkersAreKilled(t *testing.T) {
	t.Parallel()
	const workers, files, rows = 4, 40, 200
	p := newProgram(t)
	last := civil.Of(time.Now().UTC()) - 1
	for i := range files {
		content := "transaction_id,user_id,amount,transaction_date\n"
		for row := range rows {
			content += fmt.Sprintf("F%d-%d,%d,0.25,2024-01-%02d\n", i, row, 1+row%50, 1+row%28)
		}
		p.write(fmt.Sprintf("%v/%d.csv", last-civil.Date(i%workers), i), content)
	}
	// A source of each night: nights of one source would wait for each other.
	settings := "sources:\n"
	for i := range workers {
		settings += fmt.Sprintf("  - {name: s%d, path: %q}\n", i, fmt.Sprintf("%s/%v/*.csv", p.dir, last-civil.Date(i)))
	}
	p.write("tally.yaml", settings)
	code, _, stderr := p.run("backfill", "--from", (last - workers + 1).String(), "--to", last.String())
	require.Equal(t, exitDone, code, stderr)

	loaded := func() int {
		n, err := strconv.Atoi(p.query("SELECT count(*) FROM etl_files"))
		require.NoError(t, err)
		return n
	}
	var running [workers]*exec.Cmd
	for i := range running {
		running[i], _ = p.start("work")
	}
	for i, worker := range running {
		require.Eventually(t, func() bool { return loaded() > i*files/(2*workers) }, testdb.Patience, 5*time.Millisecond)
		require.NoError(t, worker.Process.Kill())
		_ = worker.Wait() // killed
		p.start("work")
	}
	require.Eventually(t, func() bool {
		return p.query("SELECT count(*) FROM etl_run_status WHERE status = 'succeeded'") == strconv.Itoa(workers)
	}, 3*time.Minute, 100*time.Millisecond)
	assert.Equal(t, fmt.Sprintf("%d %d %d", files, files, files*rows),
		p.query("SELECT count(*) || ' ' || count(DISTINCT sha256) || ' ' || sum(loaded) FROM etl_files WHERE status = 'loaded'"))
	for _, command := range [][]string{{"verify"}, {"audit", "verify"}} {
		code, out, _ := p.run(command...)
		assert.Equal(t, exitDone, code, out)
	}
}
