package pipeline

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/opentax/tally/internal/civil"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestGenerateIsDeterministic(t *testing.T) {
	t.Parallel()
	g := Generator{Rows: 5000, Users: 100, Seed: 7}
	a := generated(t, g)
	require.Equal(t, a, generated(t, g))
	g.Rows = 3000
	require.True(t, bytes.HasPrefix(a, generated(t, g)), "a longer file starts with the shorter one")
	g.Seed++
	require.False(t, bytes.HasPrefix(a, generated(t, g)))
	require.Equal(t, head, string(generated(t, Generator{})))
	// These bytes are a promise: benchmarks and samples are compared across versions.
	require.Equal(t, head+"TXN1144878651,1676,0.0,2024-07-08\nTXN1762912640,1721,2726.16,02-06-2024\n", string(generated(t, Generator{Rows: 2})))
}

// TestGenerateProportions holds the dirt to that of the assignment's file.
func TestGenerateProportions(t *testing.T) {
	t.Parallel()
	const rows = 200_000
	content := generated(t, Generator{Rows: rows, Users: 1000, Seed: 42})
	r, err := NewReader(bytes.NewReader(content), Rules{})
	require.NoError(t, err)
	first := map[string]Row{}
	users := map[int32]bool{}
	count := map[string]float64{}
	low, high := civil.Date(1<<30), civil.Date(0)
	var row Row
	for err = r.Next(&row); err == nil; err = r.Next(&row) {
		for _, f := range row.Faults.Strings() {
			count[f]++
		}
		if row.Faults != 0 {
			continue
		}
		count["valid"]++
		low, high = min(low, row.Date), max(high, row.Date)
		users[row.UserID] = true
		kept, again := first[row.TransactionID]
		switch {
		case !again:
			first[row.TransactionID] = row
		case kept.UserID == row.UserID && kept.Amount == row.Amount && kept.Date == row.Date:
			count["duplicate"]++
		default:
			count["conflict"]++
		}
		if row.Amount.Unscaled == 0 {
			count["zero"]++
		} else if row.Amount.Unscaled < 0 {
			count["negative"]++
		}
	}
	require.ErrorIs(t, err, io.EOF)
	share := func(what string) float64 { return 100 * count[what] / rows }
	assert.InDelta(t, 79.7, share("valid"), 1)
	assert.InDelta(t, 19.6, share("missing_amount"), 0.5)
	assert.InDelta(t, 1.1, share("missing_date"), 0.2)
	assert.InDelta(t, 1.1, share("duplicate"), 0.2)
	assert.InDelta(t, 1.4, share("conflict"), 0.3)
	assert.InDelta(t, 17.4, share("zero"), 1)
	assert.InDelta(t, 20.3, share("negative"), 1)
	assert.InDelta(t, 21.9, 100*float64(bytes.Count(content, []byte{'$'}))/rows, 1)
	assert.Equal(t, "2024-02-13 2025-02-12", low.String()+" "+high.String())
	assert.Len(t, users, 1000)
	assert.True(t, users[1001] && users[2000])
	assert.NotZero(t, r.slash.month*r.slash.byRule*r.slash.alike*r.dash.day*r.dash.byRule*r.dash.alike)
	assert.Zero(t, r.slash.day+r.dash.month, "the rules' own orders")
}

// TestGenerateIDs looks for ids that come twice without being meant to.
func TestGenerateIDs(t *testing.T) {
	t.Parallel()
	const rows = 300_000
	m := maker{g: Generator{Users: 10, Seed: 9}, offset: 12345}
	seen := map[string]bool{}
	for i := range int64(rows) {
		id := string(m.id(nil, i))
		require.Len(t, id, 13)
		require.False(t, seen[id])
		seen[id] = true
	}
	last := string(m.id(nil, idCount-1))
	require.True(t, strings.HasPrefix(last, "TXN") && !seen[last])
	require.Equal(t, string(m.id(nil, 5)), string(m.id(nil, idCount+5)), "only past the last id they start over")
}

func TestGenerateErrors(t *testing.T) {
	t.Parallel()
	require.ErrorContains(t, Generate(t.Context(), io.Discard, Generator{Rows: -1}), "rows")
	require.ErrorContains(t, Generate(t.Context(), io.Discard, Generator{Users: -1}), "users")
	require.ErrorContains(t, Generate(t.Context(), io.Discard, Generator{Users: 1 << 31}), "users")
	require.NoError(t, Generate(t.Context(), io.Discard, Generator{Rows: 10, Users: 1<<31 - firstUser}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, Generate(ctx, io.Discard, Generator{Rows: 1 << 30}), context.Canceled)
	require.ErrorIs(t, Generate(t.Context(), full{}, Generator{Rows: 1}), errFull)
	require.ErrorIs(t, Generate(t.Context(), full{}, Generator{Rows: 1 << 30}), errFull)
}

var errFull = errors.New("no space left")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }
