package main

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/jobs"
)

// fresh is a file that has just been written, by a clock that is ahead: however slow the test
// is, it has not stood still for long.
func (p *program) fresh(name, content string) string {
	p.t.Helper()
	path, now := p.write(name, content), time.Now().Add(time.Hour)
	require.NoError(p.t, os.Chtimes(path, now, now))
	return path
}

// A run by hand says what it waits for, unless it is told not to.
func TestRunWaitsForAFileToSettle(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	begun := time.Now()
	code, _, stderr := p.run("run", p.fresh("a.csv", sheet), "--settle", "300ms")
	require.Equal(t, exitDone, code, stderr)
	assert.GreaterOrEqual(t, time.Since(begun), 200*time.Millisecond)
	assert.Contains(t, stderr, "waiting for files that may still be written to")
	assert.Contains(t, stderr, "a.csv")
	code, _, stderr = p.run("run", p.fresh("b.csv", "T0"+sheet), "--settle", "0s")
	require.Equal(t, exitFailed, code, "it has no header, which shows at once")
	assert.NotContains(t, stderr, "waiting")

	p.write(configName, "sources: [{name: bank, path: "+p.dir+"/bank, settle: 0s}]\n")
	code, _, stderr = p.run("run", p.fresh("bank/c.csv", sheet+"T9,1,5,2024-01-05\n"))
	require.Equal(t, exitDone, code, stderr)
	assert.NotContains(t, stderr, "waiting")
	code, out, _ := p.run("sources")
	require.Equal(t, exitDone, code)
	assert.Contains(t, out, "settle: 0s")
	for _, wrong := range []string{"-1s", "25h", "ten"} {
		p.write(configName, "sources: [{name: bank, path: "+p.dir+"/bank, settle: "+wrong+"}]\n")
		code, _, stderr = p.run("run")
		assert.Equal(t, exitUsage, code, stderr)
	}
}

// Unchanged files are one line together.
func TestRunCountsUnchangedFiles(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	for _, name := range []string{"A", "B", "C"} {
		p.write("inbox/"+name+".csv", "transaction_id,user_id,amount,transaction_date\n"+name+",1,5,2024-01-05\n")
	}
	code, _, stderr := p.run("run")
	require.Equal(t, exitDone, code, stderr)
	code, out, _ := p.run("run")
	require.Equal(t, exitDone, code)
	assert.Contains(t, out, "unchanged: 3 files")
	assert.NotContains(t, out, ".csv")
	for flags, listed := range map[string]int{"": 0, "--full": 3} {
		args := []string{"run", "--json"}
		if flags != "" {
			args = append(args, flags)
		}
		code, out, _ = p.run(args...)
		require.Equal(t, exitDone, code)
		var result jobs.RunResult
		require.NoError(t, json.Unmarshal([]byte(out), &result))
		assert.Equal(t, 3, result.Unchanged, flags)
		assert.Len(t, result.Files, listed, "those that were read %s", flags)
	}
}
