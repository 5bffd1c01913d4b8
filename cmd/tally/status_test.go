package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/jobs/ledger"
)

func TestStatus(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	p.write("tally.yaml", "time_zone: Europe/Berlin\n")
	code, out, stderr := p.run("status")
	require.Equal(t, exitDone, code, stderr)
	assert.Regexp(t, `^night       there was none yet
summaries   no data yet
verified    not yet
next        the night of \d{4}-\d\d-\d\d, at \d{4}-\d\d-\d\d 00:00 CES?T
to do       nothing
$`, out)

	path := p.write("a.csv", "transaction_id,user_id,amount,transaction_date\nA,1,5,2024-01-02\nB,1,,2024-01-02\n")
	require.Equal(t, exitDone, first(p.run("run", path)))
	code, out, stderr = p.run("status")
	require.Equal(t, exitDone, code, stderr)
	assert.Regexp(t, `\nsummaries   as of .*, change 1\n`, out)
	assert.Contains(t, out, "\nto do       1 row of source manual with missing_amount\n            See them: tally rejects ")

	code, out, stderr = p.run("status", "--json")
	require.Equal(t, exitDone, code, stderr)
	var tonight ledger.Tonight
	require.NoError(t, json.Unmarshal([]byte(out), &tonight))
	require.Len(t, tonight.Needs, 1)
	assert.Equal(t, "missing_amount", tonight.Needs[0].Fault)
}

// Whatever the night was, the status has about ten lines.
func TestStatusIsShort(t *testing.T) {
	t.Parallel()
	need := ledger.Need{What: "b.csv: the file is empty", NextStep: "Correct it"}
	now := ledger.Tonight{
		TimeZone: "UTC", Date: civil.Of(time.Date(2024, 2, 28, 0, 0, 0, 0, time.UTC)), Verdict: ledger.NightFailed, Run: &ledger.Run{ID: 7, Status: "failed"},
		Counts: ledger.Counts{Files: 1, Failed: 1, Read: 10, Loaded: 5, Duplicate: 1, Conflict: 1, Rejected: 3},
		Data:   audit.Head{Number: 3}, Verified: ledger.Verified{Status: "clean"}, Needs: []ledger.Need{need, need, need, need},
	}
	var out strings.Builder
	require.NoError(t, terminal{}.printStatus(&out, now))
	assert.LessOrEqual(t, strings.Count(out.String(), "\n"), 11)
	assert.Contains(t, out.String(), "night       2024-02-28 failed (run 7)\nfiles       1 loaded, 1 failed\nrows        10 read: 5 loaded, 1 duplicate, 1 conflict, 3 rejected\n")
	assert.Contains(t, out.String(), "            and 2 more: tally status --json\n")
	for verdict, want := range map[string]string{ledger.NightLoaded: " is complete (run 7)", ledger.NightUnfinished: " is not complete: run 7 is failed", ledger.NightMissing: " has no run"} {
		now.Verdict = verdict
		out.Reset()
		require.NoError(t, terminal{color: true}.printStatus(&out, now))
		assert.Contains(t, out.String(), want)
		assert.Contains(t, out.String(), "\x1b["+colorOf(verdict)+"m2024-02-28")
	}
}
