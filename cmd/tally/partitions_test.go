package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/jobs/ledger"
)

const months = "transaction_id,user_id,amount,transaction_date\nA,1,5,2024-01-01\nB,2,6.50,2024-01-31\nC,1,7,2024-02-01\nD,3,-1,2024-03-03\n"

func TestPartitions(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	require.Equal(t, exitDone, first(p.run("run", p.write("a.csv", months))))
	code, out, stderr := p.run("partitions", "retire", "--before", "2024-02", "--keep-totals")
	assert.Equal(t, exitUsage, code, out)
	assert.Contains(t, stderr, "say what becomes of the rows")
	assert.Equal(t, exitUsage, first(p.run("partitions", "retire", "--before", "2024-02", "--drop")))
	assert.Equal(t, exitUsage, first(p.run("partitions", "retire", "--before", "2024", "--drop", "--keep-totals")))
	assert.Equal(t, exitUsage, first(p.run("partitions", "retire", "--before", "9999-01", "--drop", "--keep-totals")), "they have not ended")

	code, out, stderr = p.run("partitions", "retire", "--before", "2024-02", "--keep-totals", "--dry-run")
	require.Equal(t, exitDone, code, stderr)
	assert.Equal(t, "2024-01: 2 rows, 11.5\n1 months to retire: 2 rows, 11.5\n", out)
	code, out, stderr = p.run("partitions", "retire", "--before", "2024-02", "--keep-totals", "--drop", "--reason", "law", "--json")
	require.Equal(t, exitDone, code, stderr)
	assert.JSONEq(t, `{"months": [{"month": "2024-01", "rows": 2, "total_amount": 11.5}], "rows": 2, "total_amount": 11.5}`, out)
	assert.Contains(t, p.query("SELECT entry FROM audit_chain WHERE kind = 'retire'"), `"reason":"law"`)

	code, out, stderr = p.run("partitions", "list", "--json")
	require.Equal(t, exitDone, code, stderr)
	var got struct{ Partitions []ledger.Partition }
	require.NoError(t, json.Unmarshal([]byte(out), &got))
	require.Len(t, got.Partitions, 3)
	retired, stored := got.Partitions[0], got.Partitions[1]
	assert.Equal(t, [4]any{"2024-01", int64(2), "retired", "kept"}, [4]any{retired.Month, retired.Rows, retired.State, retired.Totals})
	assert.Zero(t, retired.Bytes)
	assert.Equal(t, [3]any{"2024-02", "stored", true}, [3]any{stored.Month, stored.State, stored.Sparse})
	assert.Positive(t, stored.Bytes)
	code, out, _ = p.run("partitions", "list")
	assert.Equal(t, exitDone, code)
	assert.Contains(t, out, "retired, totals kept")

	code, out, stderr = p.run("history", "A", "--json")
	require.Equal(t, exitDone, code, stderr)
	var history ledger.History
	require.NoError(t, json.Unmarshal([]byte(out), &history))
	assert.Empty(t, history.Versions)
	require.NotNil(t, history.Retired)
	assert.Equal(t, [4]any{"2024-01", int32(1), "2024-01-01", "kept"}, [4]any{history.Retired.Month, history.Retired.UserID, history.Retired.Date.String(), history.Retired.Totals})
	code, out, _ = p.run("history", "A")
	assert.Equal(t, exitDone, code)
	assert.Regexp(t, `^retired: its month 2024-01 was retired on \d{4}-\d\d-\d\d, with totals kept; its key is known, for user 1 and 2024-01-01; its row is no longer in the database\n$`, out)
	_, out, _ = p.run("history", "C")
	assert.NotContains(t, out, "retired")
	assert.Equal(t, exitDone, first(p.run("verify")))
	assert.Equal(t, exitDone, first(p.run("audit", "verify")))
}

// A retired month stays in an export that has it, and later exports go on.
func TestRetireExports(t *testing.T) {
	t.Parallel()
	for _, totals := range []string{"--keep-totals", "--drop-totals"} {
		p := newProgram(t)
		lake := t.TempDir()
		require.Equal(t, exitDone, first(p.run("run", p.write("a.csv", months))))
		code, out, stderr := p.run("partitions", "retire", "--before", "2024-02", totals, "--export-to", lake, "--json")
		require.Equal(t, exitDone, code, stderr)
		assert.Contains(t, out, `"exported": "transactions/month=2024-01-01/part-`)
		assert.Equal(t, "1", p.query("SELECT count(*) FROM etl_retired WHERE exported_to = '"+lake+"' AND length(exported_sha256) = 64"))
		for _, args := range [][]string{{"--to", lake}, {"--to", lake, "--replace"}, {"--to", lake, "--check"}} {
			code, out, stderr := p.run(append([]string{"export"}, args...)...)
			require.Equal(t, exitDone, code, out+stderr)
		}
		files, err := filepath.Glob(filepath.Join(lake, "transactions", "*", "*.parquet"))
		require.NoError(t, err)
		assert.Len(t, files, 3)
		require.Equal(t, exitDone, first(p.run("run", p.write("b.csv", "transaction_id,user_id,amount,transaction_date\nE,1,1,2024-04-01\n"))))
		code, out, stderr = p.run("export", "--to", lake)
		require.Equal(t, exitDone, code, out+stderr)
		_, out, _ = p.run("history", "A")
		assert.Contains(t, out, "and in "+lake+"/transactions/month=2024-01-01/part-")
		code, out, stderr = p.run("export", "--to", t.TempDir())
		require.Equal(t, exitDone, code, out+stderr, "also one that never had the month")
		assert.Equal(t, exitDone, first(p.run("verify")))
		assert.Equal(t, exitDone, first(p.run("audit", "verify")))
		require.NoError(t, os.WriteFile(files[0], []byte("damaged"), 0o600))
		assert.Equal(t, exitFailed, first(p.run("export", "--to", lake, "--check")))
	}
}

// A retirement that is killed at any moment has happened as a whole, or not at all, and can be
// repeated.
func TestRetireIsKilled(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	require.Equal(t, exitDone, first(p.run("run", p.write("a.csv", months))))
	for i := range 6 {
		command, _ := p.start("partitions", "retire", "--before", fmt.Sprintf("2024-0%d", 2+i/3), "--drop-totals", "--drop")
		for range 2000 { // until it is at work, or done
			if p.query("SELECT count(*) FROM pg_locks WHERE relation = 'etl_retired'::regclass AND mode = 'ExclusiveLock' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())") != "0" || command.ProcessState != nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Duration(i%3*7) * time.Millisecond)
		require.NoError(t, command.Process.Kill())
		_ = command.Wait()
		assert.Equal(t, exitDone, first(p.run("verify")))
		assert.Equal(t, exitDone, first(p.run("audit", "verify")))
	}
	code, _, stderr := p.run("partitions", "retire", "--before", "2024-03", "--drop-totals", "--drop")
	require.Equal(t, exitDone, code, stderr)
	assert.Equal(t, "1", p.query("SELECT count(*) FROM transactions"))
	assert.Equal(t, "3 1 -1", p.query("SELECT concat_ws(' ', user_id, total_transactions, total_amount) FROM user_summary"))
	assert.Equal(t, exitDone, first(p.run("verify", "--full")))
	assert.Equal(t, exitDone, first(p.run("audit", "verify")))
}
