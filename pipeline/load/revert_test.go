package load_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/money"
	"github.com/opentax/tally/internal/reject"
	"github.com/opentax/tally/pipeline/load"
	"github.com/opentax/tally/pipeline/transform"
)

func (f *fixture) revert(files ...int64) reject.RevertResult {
	f.t.Helper()
	result, err := f.loader.Revert(f.t.Context(), files, f.settings, by(), false)
	require.NoError(f.t, err)
	return result
}

// transactions are the rows of transactions in order of their ids.
func (f *fixture) transactions() string {
	f.t.Helper()
	return one[string](f, `SELECT coalesce(string_agg(concat_ws(' ', transaction_id, user_id, amount, transaction_date), E'\n' ORDER BY transaction_id), '') FROM transactions`)
}

func TestRevert(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.load("a.csv", header+"A,1,5,2024-01-01\nB,2,6.50,2024-02-01\n")
	b := f.load("b.csv", header+"C,1,7,2024-03-01\nD,3,-1,2024-03-01\n")

	preview, err := f.loader.Revert(t.Context(), []int64{b.FileID}, f.settings, by(), true)
	require.NoError(t, err)
	want := reject.RevertResult{Rows: 2, Users: 2, TotalAmount: money.NewSum(6, 0), Change: money.NewSum(-6, 0), Warnings: []string{}}
	assert.Equal(t, want, preview)
	assert.Equal(t, int64(4), one[int64](f, "SELECT count(*) FROM transactions"), "a preview changes nothing")

	assert.Equal(t, want, f.revert(b.FileID))
	assert.Equal(t, "A 1 5 2024-01-01\nB 2 6.5 2024-02-01", f.transactions())
	f.holds()
	_, err = f.loader.Revert(t.Context(), []int64{b.FileID}, f.settings, by(), false)
	require.ErrorIs(t, err, load.ErrReverted)
	_, err = f.loader.Revert(t.Context(), []int64{99}, f.settings, by(), false)
	require.ErrorIs(t, err, load.ErrNotLoaded)

	again := f.load("b.csv", header+"C,1,7,2024-03-01\nD,3,-1,2024-03-01\n")
	assert.Equal(t, load.StatusUnchanged, again.Status, "a night does not load it again")
	require.Len(t, again.Warnings, 1)
	assert.Contains(t, again.Warnings[0], "was reverted")
	request := f.request(f.write("b.csv", header+"C,1,7,2024-03-01\nD,3,-1,2024-03-01\n"))
	request.Again = true
	by, err := f.loader.Load(t.Context(), request)
	require.NoError(t, err)
	assert.Equal(t, [2]any{load.StatusLoaded, int64(2)}, [2]any{by.Status, by.Loaded})
	f.holds()

	f.revert(a.FileID, by.FileID)
	assert.Empty(t, f.transactions())
	assert.Zero(t, one[int64](f, "SELECT count(*) FROM user_summary"))
	f.holds()
}

// A row that was replaced comes back, but not one whose file was reverted too; and what a
// later file did stays.
func TestRevertOfCorrections(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.rules.Corrections = transform.CorrectionsReplace
	var files []int64
	for i := range 4 {
		files = append(files, f.load(fmt.Sprintf("%d.csv", i), fmt.Sprintf(header+"A,1,%d,2024-0%d-01\n", i, i+1)).FileID)
	}
	f.revert(files[1])
	assert.Equal(t, "A 1 3 2024-04-01", f.transactions(), "it is no longer its row that is stored")
	assert.Equal(t, int64(1), f.revert(files[3]).Restored)
	assert.Equal(t, "A 1 2 2024-03-01", f.transactions())
	f.holds()
	assert.Equal(t, int64(1), f.revert(files[2]).Restored)
	assert.Equal(t, "A 1 0 2024-01-01", f.transactions(), "the row of a reverted file does not come back")
	f.revert(files[0])
	assert.Empty(t, f.transactions())
	assert.Equal(t, "0 1 2\n1 2 3\n2 3 4\n3 4 6\n2 6 7\n0 7 8", one[string](f,
		`SELECT string_agg(concat_ws(' ', amount, from_change, to_change), E'\n' ORDER BY to_change) FROM transaction_versions`))
	f.holds()
}

// A row that repeated or contradicted a row that is taken out is loaded instead of it.
func TestRevertGivesWayToLaterFiles(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.load("a.csv", header+"A,1,5,2024-01-01\nB,1,5,2024-01-01\n")
	f.load("b.csv", header+"A,1,5,2024-01-01\nB,1,6,2024-01-01\nX,1,1,2024-01-01\n")
	f.load("c.csv", header+"A,1,7,2024-01-01\nB,1,6,2024-01-01\n")
	got := f.revert(a.FileID)
	assert.Equal(t, [3]int64{2, 0, 2}, [3]int64{got.Rows, got.Restored, got.Replayed})
	assert.Equal(t, "1", got.Change.String())
	assert.Equal(t, "A 1 5 2024-01-01\nB 1 6 2024-01-01\nX 1 1 2024-01-01", f.transactions())
	assert.Equal(t, "2:2 replayed loaded\n2:3 replayed loaded\n3:2 open conflict 2:2\n3:3 replayed duplicate 2:3", f.states())
	f.holds()
	f.revert(2)
	assert.Equal(t, "A 1 7 2024-01-01\nB 1 6 2024-01-01", f.transactions())
	f.holds()
}

// The proofs of a reverted file count no more, until another file proves the same.
func TestRevertForgetsWhatTheFileProved(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.rules.RejectLimit = "100%"
	learn := func(name, content string) load.Result {
		request := f.request(f.write(name, header+content))
		request.Learns = true
		r, err := f.loader.Load(t.Context(), request)
		require.NoError(t, err)
		return r
	}
	a := learn("a.csv", "A,1,5,13/04/2024\n")
	assert.Equal(t, int64(1), learn("b.csv", "B,1,5,03/04/2024\n").Loaded)
	f.revert(a.FileID)
	assert.Equal(t, int64(0), learn("c.csv", "C,1,5,03/04/2024\n").Loaded)
	learn("d.csv", "D,1,5,13/05/2024\n")
	assert.Equal(t, int64(1), learn("e.csv", "E,1,5,03/04/2024\n").Loaded)
	f.holds()
}
