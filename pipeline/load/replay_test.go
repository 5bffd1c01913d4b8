package load_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/reject"
	"github.com/opentax/tally/pipeline/load"
	"github.com/opentax/tally/pipeline/seal"
	"github.com/opentax/tally/pipeline/transform"
)

func by() audit.By { return audit.By{Actor: "test", Reason: "because"} }

// settings are the present settings of every source.
func (f *fixture) settings(string, transform.Rules) (transform.Rules, bool) { return f.rules, true }

// rejects are the ids of the rows that were not loaded, in order.
func (f *fixture) rejects(outcomes ...string) (ids []reject.ID) {
	f.t.Helper()
	rows, err := f.pool.Query(f.t.Context(), "SELECT file_id, line FROM etl_rejects WHERE outcome = ANY($1) ORDER BY file_id, line", outcomes)
	require.NoError(f.t, err)
	defer rows.Close()
	for rows.Next() {
		var id reject.ID
		require.NoError(f.t, rows.Scan(&id.FileID, &id.Line))
		ids = append(ids, id)
	}
	return ids
}

func (f *fixture) replay(ids ...reject.ID) reject.ReplayResult {
	f.t.Helper()
	result, err := f.loader.Replay(f.t.Context(), ids, f.settings, by(), false)
	require.NoError(f.t, err)
	return result
}

// states are what became of the rejects, in order.
func (f *fixture) states() string {
	f.t.Helper()
	return one[string](f, `SELECT coalesce(string_agg(concat_ws(' ', file_id || ':' || line, state, outcome, kept_file_id || ':' || kept_line), E'\n' ORDER BY change, file_id, line), '')
		FROM etl_reject_states`)
}

// holds checks rollups, keys and the audit chain.
func (f *fixture) holds() {
	f.t.Helper()
	f.verify()
	v, err := seal.Verify(f.t.Context(), f.pool, audit.Head{})
	require.NoError(f.t, err)
	assert.Nil(f.t, v.Broken)
}

func counts(read, loaded, duplicate, conflict, rejected int64) reject.ReplayResult {
	return reject.ReplayResult{Read: read, Loaded: loaded, Duplicate: duplicate, Conflict: conflict, Rejected: rejected, Warnings: []string{}}
}

// Rows that were ambiguous are loaded once a setting decides, as if they had been read so
// at first.
func TestReplayUnderANewSetting(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.rules.RejectLimit = "100%"
	r := f.load("a.csv", header+"A,1,5,03/04/2024\nB,1,6.50,05/06/2024\nC,2,7,2024-01-01\nD,2,,2024-01-01\nA,1,5,03/04/2024\nB,1,7,05/06/2024\n")
	require.Equal(t, [2]int64{1, 5}, [2]int64{r.Loaded, r.Rejected})
	ids := f.rejects("rejected")

	assert.Equal(t, counts(5, 0, 0, 0, 5), f.replay(ids...), "nothing is known yet that was not known then")
	assert.Equal(t, int64(1), one[int64](f, "SELECT count(*) FROM audit_chain"))

	f.rules.Slash = "dmy"
	dry, err := f.loader.Replay(t.Context(), ids, f.settings, by(), true)
	require.NoError(t, err)
	assert.Equal(t, counts(5, 2, 1, 1, 1), dry)
	assert.Equal(t, int64(1), one[int64](f, "SELECT count(*) FROM transactions"), "a dry run changes nothing")

	assert.Equal(t, dry, f.replay(append(ids, ids...)...))
	assert.Equal(t, "A 1 5 2024-04-03 2\nB 1 6.5 2024-06-05 3\nC 2 7 2024-01-01 4", one[string](f,
		`SELECT string_agg(concat_ws(' ', transaction_id, user_id, amount, transaction_date, line), E'\n' ORDER BY transaction_id) FROM transactions WHERE file_id = `+fmt.Sprint(r.FileID)))
	id := func(line int) string { return fmt.Sprintf("%d:%d", r.FileID, line) }
	assert.Equal(t, id(2)+" replayed loaded\n"+id(3)+" replayed loaded\n"+id(6)+" replayed duplicate "+id(2)+"\n"+id(7)+" open conflict "+id(3), f.states())
	assert.Equal(t, [2]int64{1, 5}, [2]int64{one[int64](f, "SELECT loaded FROM etl_files"), one[int64](f, "SELECT rejected FROM etl_files")}, "what the load found stays")
	f.holds()

	assert.Equal(t, counts(1, 0, 0, 0, 1), f.replay(ids...), "each row is replayed once; the one without an amount is still open")
	assert.Equal(t, int64(2), one[int64](f, "SELECT count(*) FROM audit_chain"))
}

// What other files of the source have proven since decides as well.
func TestReplayUnderWhatWasLearned(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.rules.RejectLimit = "100%"
	request := f.request(f.write("a.csv", header+"A,1,5,03/04/2024\n"))
	request.Learns = true
	_, err := f.loader.Load(t.Context(), request)
	require.NoError(t, err)
	request = f.request(f.write("b.csv", header+"B,1,5,13/04/2024\n"))
	request.Learns = true
	_, err = f.loader.Load(t.Context(), request)
	require.NoError(t, err)
	assert.Equal(t, counts(1, 1, 0, 0, 0), f.replay(f.rejects("rejected")...))
	assert.Equal(t, "2024-04-03", one[string](f, "SELECT transaction_date::text FROM transactions WHERE transaction_id = 'A'"))
	f.holds()
}

// Rejects of several files in one commit: the row of the earlier file is kept, or the later
// one replaces it where the source says so.
func TestReplayOfSeveralFiles(t *testing.T) {
	t.Parallel()
	for corrections, want := range map[string]string{"keep": "1", "replace": "2"} {
		t.Run(corrections, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.rules.RejectLimit, f.rules.Corrections = "100%", corrections
			f.load("1.csv", header+"A,1,1,03/04/2024\nB,1,1,03/04/2024\n")
			f.load("2.csv", header+"A,1,2,03/04/2024\nB,1,1,03/04/2024\nC,9,9,03/04/2024\n")
			f.rules.Slash = "mdy"
			got := f.replay(f.rejects("rejected")...)
			if corrections == "keep" {
				assert.Equal(t, counts(5, 3, 1, 1, 0), got)
			} else {
				assert.Equal(t, counts(5, 4, 1, 0, 0), got)
				assert.Equal(t, int64(1), one[int64](f, "SELECT count(*) FROM transaction_versions WHERE transaction_id = 'A' AND from_change = to_change"))
			}
			assert.Equal(t, want, one[string](f, "SELECT amount::text FROM transactions WHERE transaction_id = 'A'"))
			f.holds()
		})
	}
}

func TestFix(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.rules.RejectLimit = "100%"
	r := f.load("a.csv", header+"A,1,,2024-01-01\nB,x,5,2024-01-01\nC,1\nD,1,5,2024-01-01\n")
	require.Equal(t, int64(3), r.Rejected)
	ids := f.rejects("rejected")
	fix := func(i int, fix transform.Fix) (reject.ReplayResult, error) {
		return f.loader.Fix(t.Context(), ids[i], fix, f.settings, by())
	}
	got, err := fix(0, transform.Fix{Amount: "-12.50"})
	require.NoError(t, err)
	assert.Equal(t, counts(1, 1, 0, 0, 0), got)
	_, err = fix(0, transform.Fix{Amount: "13"})
	require.ErrorIs(t, err, load.ErrNotOpen)
	var still *load.RejectedError
	_, err = fix(1, transform.Fix{Amount: "13"})
	require.ErrorAs(t, err, &still)
	assert.Equal(t, []string{"invalid_user_id"}, still.Faults)
	_, err = fix(2, transform.Fix{Amount: "13", Date: "2024-01-01"})
	require.ErrorAs(t, err, &still)
	assert.Equal(t, []string{"too_few_fields"}, still.Faults, "its cells cannot be trusted")
	got, err = fix(2, transform.Fix{TransactionID: "D", UserID: "1", Amount: "6", Date: "2024-01-01"})
	require.NoError(t, err)
	assert.Equal(t, counts(1, 0, 0, 1, 0), got, "a fix may be a conflict, which is to be settled")
	for _, wrong := range []transform.Fix{{Amount: "1,5"}, {Amount: "1e5"}, {Date: "1/2/2024"}, {UserID: "0"}, {TransactionID: "\x01"}, {Amount: "1.23456"}} {
		_, err = fix(1, wrong)
		require.Error(t, err)
		assert.NotErrorIs(t, err, load.ErrNotOpen)
	}
	assert.Equal(t, "A 1 -12.5 2024-01-01", one[string](f, "SELECT concat_ws(' ', transaction_id, user_id, amount, transaction_date) FROM transactions WHERE line = 2"))
	assert.Equal(t, "test because fix", one[string](f, "SELECT concat_ws(' ', entry::json->>'actor', entry::json->>'reason', kind) FROM audit_chain WHERE number = 2"))
	f.holds()
}

// Corrected values stay with their row, whatever reads it again.
func TestFixIsKept(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.rules.RejectLimit = "100%"
	stored := f.load("a.csv", header+"A,1,5,2024-01-01\nB,1,5,2024-01-01\n")
	f.load("b.csv", header+"A,1,,01/02/2024\nB,1,,01/02/2024\nB,1,,2024-01-01\n")
	ids := f.rejects("rejected")
	fix := func(i int, fix transform.Fix, want reject.ReplayResult) {
		t.Helper()
		got, err := f.loader.Fix(t.Context(), ids[i], fix, f.settings, by())
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	for i := range 2 {
		fix(i, transform.Fix{Amount: "6", Date: "2024-03-01"}, counts(1, 0, 0, 1, 0))
		fix(i, transform.Fix{Date: "2024-03-02"}, counts(1, 0, 0, 1, 0))
		fix(i, transform.Fix{Date: "2024-03-02"}, counts(1, 0, 0, 1, 0)) // as if its answer had not arrived
	}
	assert.Equal(t, int64(6), one[int64](f, "SELECT count(*) FROM audit_chain"), "a repeated fix changes nothing")
	seen, err := f.loader.Inspect(t.Context(), []load.RejectText{{ID: ids[0], Raw: []byte("A,1,,01/02/2024"), Change: 4}}, f.settings)
	require.NoError(t, err)
	assert.Equal(t, "6 2024-03-02", seen[ids[0]].Amount.String()+" "+seen[ids[0]].Date.String())
	fix(2, transform.Fix{Amount: "5"}, counts(1, 0, 1, 0, 0))
	got, err := f.loader.Take(t.Context(), ids[0], f.settings, by())
	require.NoError(t, err)
	assert.Equal(t, counts(1, 1, 0, 0, 0), got)

	_, err = f.loader.Revert(t.Context(), []int64{stored.FileID}, f.settings, by(), false)
	require.NoError(t, err)
	assert.Equal(t, "A 1 6 2024-03-02\nB 1 6 2024-03-02", one[string](f,
		`SELECT string_agg(concat_ws(' ', transaction_id, user_id, amount, transaction_date), E'\n' ORDER BY transaction_id) FROM transactions`))
	_, err = f.loader.Take(t.Context(), ids[2], f.settings, by())
	require.NoError(t, err, "it was a duplicate, and is a conflict with the first row of the file now")
	assert.Equal(t, "5 2024-01-01", one[string](f, "SELECT concat_ws(' ', amount, transaction_date) FROM transactions WHERE transaction_id = 'B'"))
	f.holds()
}

func TestSettle(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.load("a.csv", header+"A,1,5,2024-01-01\nB,1,5,2024-01-01\n")
	r := f.load("b.csv", header+"A,2,6,2024-02-01\nB,1,7,2024-01-01\n")
	require.Equal(t, int64(2), r.Conflict)
	ids := f.rejects("conflict")

	got, err := f.loader.Take(t.Context(), ids[0], f.settings, by())
	require.NoError(t, err)
	assert.Equal(t, counts(1, 1, 0, 0, 0), got)
	require.NoError(t, f.loader.Keep(t.Context(), ids[1], by()))
	assert.Equal(t, "A 2 6 2024-02-01\nB 1 5 2024-01-01", one[string](f,
		`SELECT string_agg(concat_ws(' ', transaction_id, user_id, amount, transaction_date), E'\n' ORDER BY transaction_id) FROM transactions`))
	assert.Equal(t, "A 1 5 1 3", one[string](f, "SELECT concat_ws(' ', transaction_id, user_id, amount, from_change, to_change) FROM transaction_versions"))
	for _, id := range ids {
		_, err = f.loader.Take(t.Context(), id, f.settings, by())
		require.ErrorIs(t, err, load.ErrNotOpen)
		require.ErrorIs(t, f.loader.Keep(t.Context(), id, by()), load.ErrNotOpen)
	}
	f.holds()
}

func TestDiscard(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.rules.RejectLimit = "100%"
	f.load("a.csv", header+"A,1,,2024-01-01\nB,1,5,2024-01-01\nB,1,6,2024-01-01\nB,1,5,2024-01-01\nC,1,,2024-01-01\n")
	all := f.rejects("rejected", "conflict", "duplicate")
	n, err := f.loader.Discard(t.Context(), all[:3], by())
	require.NoError(t, err)
	assert.Equal(t, int64(2), n, "a duplicate is not open")
	n, err = f.loader.Discard(t.Context(), all[:3], by())
	require.NoError(t, err)
	assert.Zero(t, n)
	_, err = f.loader.Fix(t.Context(), all[0], transform.Fix{Amount: "5"}, f.settings, by())
	require.ErrorIs(t, err, load.ErrNotOpen)
	assert.Equal(t, counts(1, 0, 0, 0, 1), f.replay(all...))
	f.holds()
}

// Many replays of the same rows at once, beside a load, load each row once.
func TestReplaysAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.rules.RejectLimit = "100%"
	content := header
	for i := range 500 {
		content += fmt.Sprintf("T%d,%d,1,03/04/2024\n", i, i%7+1)
	}
	f.load("a.csv", content)
	f.rules.Slash = "mdy"
	ids := f.rejects("rejected")
	var loaded atomic.Int64
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			r, err := f.loader.Replay(context.WithoutCancel(t.Context()), ids[i*50:], f.settings, by(), false)
			assert.NoError(t, err)
			loaded.Add(r.Loaded)
		})
	}
	group.Go(func() { f.load("b.csv", header+"U,1,1,2024-01-01\n") })
	group.Wait()
	assert.Equal(t, int64(500), loaded.Load())
	f.holds()
}

// Files of earlier versions have no layout; of a file that failed nothing is open.
func TestReplayOfWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.rules.RejectLimit = "100%"
	f.load("a.csv", header+"A,1,,2024-01-01\n")
	f.exec("ALTER TABLE etl_files DISABLE TRIGGER append_only; UPDATE etl_files SET layout = NULL")
	got := f.replay(f.rejects("rejected")...)
	assert.Equal(t, int64(1), got.Rejected)
	require.Len(t, got.Warnings, 1)
	assert.Contains(t, got.Warnings[0], "earlier version")

	f.rules.RejectLimit = "0"
	require.Equal(t, load.StatusFailed, f.load("b.csv", header+"B,1,,2024-01-01\n").Status)
	ids := f.rejects("rejected")
	assert.Equal(t, int64(0), f.replay(ids[len(ids)-1]).Read)
	_, err := f.loader.Fix(t.Context(), ids[len(ids)-1], transform.Fix{Amount: "1"}, f.settings, by())
	assert.ErrorIs(t, err, load.ErrNotOpen)
}
