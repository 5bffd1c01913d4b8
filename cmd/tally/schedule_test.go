package main

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/jobs"
)

func TestScheduleIsShownAndSet(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	p.write("tally.yaml", "time_zone: Europe/Berlin\ncatch_up: latest\n")
	code, out, stderr := p.run("schedule")
	require.Equal(t, exitDone, code, stderr)
	assert.Contains(t, out, "last decided date: none\n")
	assert.Contains(t, out, "(Europe/Berlin; ")
	assert.Contains(t, out, "missed midnights: latest\n")
	assert.Contains(t, out, "unfinished runs: 0\n")

	code, out, stderr = p.run("schedule", "--set", "2024-03-01", "--reason", "begin with March")
	require.Equal(t, exitDone, code, stderr)
	assert.Contains(t, out, "last decided date: 2024-03-01\n")
	assert.Contains(t, out, "problem: the schedule is at 2024-03-01, and ")
	assert.Equal(t, "schedule.set 2024-03-01 begin with March",
		p.query("SELECT concat_ws(' ', action, subject, detail ->> 'reason') FROM audit_events WHERE actor LIKE 'cli%'"))

	require.Equal(t, exitDone, first(p.run("backfill", "--from", "2024-02-01", "--to", "2024-02-02")))
	code, out, stderr = p.run("schedule", "--json")
	require.Equal(t, exitDone, code, stderr)
	var schedule jobs.Schedule
	require.NoError(t, json.Unmarshal([]byte(out), &schedule))
	assert.Equal(t, 2, schedule.Unfinished)
	assert.Len(t, schedule.Runs, 2)
	_, out, _ = p.run("schedule")
	assert.Contains(t, out, "  2024-02-02: run 2 is due\n    inbox waits for the run of 2024-02-01\n")

	tomorrow := (civil.Of(time.Now().UTC()) + 1).String()
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"--set", tomorrow, "--reason", "a try"}, "the day has not ended yet"},
		{[]string{"--set", "2024-03-01"}, "belong together"},
		{[]string{"--set", "2024-03-01", "--reason", " "}, "belong together"},
		{[]string{"--reason", "none"}, "belong together"},
		{[]string{"--set", "soon", "--reason", "a try"}, "--set"},
	} {
		code, out, stderr := p.run(append([]string{"schedule"}, c.args...)...)
		assert.Equal(t, exitUsage, code, c.args)
		assert.Contains(t, stderr, c.says)
		assert.Empty(t, out)
	}
}

// A schedule that a wrong clock has moved makes the process not ready, and the answer says
// how it is set back.
func TestReadyNamesAScheduleAhead(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	require.Equal(t, exitDone, first(p.run("schedule", "--set", "2024-03-01", "--reason", "a start")))
	p.exec("UPDATE etl_schedule SET last_date = '2100-01-01'")
	address := freeAddress(t)
	p.start("serve", "--listen", address)
	status, body := get(t, "http://"+address+"/readyz")
	assert.Equal(t, http.StatusServiceUnavailable, status)
	assert.Contains(t, body, `"not_ready":["schedule"]`)
	assert.Contains(t, body, "it is at 2100-01-01")
	yesterday := (civil.Of(time.Now().UTC()) - 1).String()
	assert.Contains(t, body, "tally schedule --set "+yesterday)
	require.Equal(t, exitDone, first(p.run("schedule", "--set", yesterday, "--reason", "the clock was ahead")))
	time.Sleep(time.Second) // for which the last look is served
	status, body = get(t, "http://"+address+"/readyz")
	assert.Equal(t, http.StatusOK, status, body)
	_, body = get(t, "http://"+address+"/metrics")
	assert.Contains(t, body, "tally_schedule_undecided_days 0\n")
	assert.Contains(t, body, "tally_clock_skew_seconds ")
}
