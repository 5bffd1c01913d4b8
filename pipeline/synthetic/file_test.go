package synthetic

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/pipeline/extract"
	"github.com/opentax/tally/pipeline/transform"
)

const head = "transaction_id,user_id,amount,transaction_date\n"

func generated(tb testing.TB, f File) []byte {
	tb.Helper()
	var b bytes.Buffer
	require.NoError(tb, Write(tb.Context(), &b, f))
	return b.Bytes()
}

func TestWriteIsDeterministic(t *testing.T) {
	t.Parallel()
	f := File{Rows: 5000, Users: 100, Seed: 7}
	a := generated(t, f)
	require.Equal(t, a, generated(t, f))
	f.Rows = 3000
	require.True(t, bytes.HasPrefix(a, generated(t, f)), "a longer file starts with the shorter one")
	f.Seed++
	require.False(t, bytes.HasPrefix(a, generated(t, f)))
	require.Equal(t, head, string(generated(t, File{})))
	// These bytes are a promise: benchmarks and samples are compared across versions.
	require.Equal(t, head+"TXN1144878651,1676,0.0,2024-07-08\nTXN1762912640,1721,2726.16,02-06-2024\n", string(generated(t, File{Rows: 2})))
}

// TestWriteProportions compares the dirt with the proportions of the sample file.
func TestWriteProportions(t *testing.T) {
	t.Parallel()
	const rows = 200_000
	content := generated(t, File{Rows: rows, Users: 1000, Seed: 42})
	path := filepath.Join(t.TempDir(), "in.csv")
	require.NoError(t, os.WriteFile(path, content, 0o600))
	reader, err := extract.NewReader(bytes.NewReader(content), extract.Dialect{}, transform.Rules{}.Wanted())
	require.NoError(t, err)
	cleaner, err := transform.NewCleaner(transform.Reading{Conventions: transform.Rules{}.Assume(&transform.Learned{})})
	require.NoError(t, err)
	first := map[string]transform.Row{}
	users := map[int32]bool{}
	count := map[string]float64{}
	low, high := civil.Date(1<<30), civil.Date(0)
	for record, readErr := reader.Next(); readErr == nil; record, readErr = reader.Next() {
		var row transform.Row
		cleaner.Clean(record, &row)
		for _, f := range row.Faults.Strings() {
			count[f]++
		}
		if row.Faults != 0 {
			continue
		}
		count["valid"]++
		low, high = min(low, row.Date), max(high, row.Date)
		users[row.UserID] = true
		kept, again := first[string(row.ID)]
		switch {
		case !again:
			first[string(row.ID)] = row
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
	p, err := transform.Check(t.Context(), nil, bucket.Path(path), transform.Rules{}, 0)
	require.NoError(t, err)
	held := map[string]transform.ConventionCount{}
	for _, c := range p.Conventions {
		held[c.Setting] = c
	}
	slash, dash, decimal := held["slash"], held["dash"], held["decimal"]
	assert.NotZero(t, slash.First.Cells*slash.Ambiguous.Cells*slash.Alike.Cells*dash.Second.Cells*dash.Ambiguous.Cells*dash.Alike.Cells*decimal.First.Cells)
	assert.Zero(t, slash.Second.Cells+dash.First.Cells+decimal.Second.Cells, "each separator has one order")
	assert.Equal(t, "mdy dmy point", slash.Choice+" "+dash.Choice+" "+decimal.Choice)
}

// TestWriteIDs looks for ids that come twice without being meant to.
func TestWriteIDs(t *testing.T) {
	t.Parallel()
	const rows = 300_000
	m := maker{f: File{Users: 10, Seed: 9}, offset: 12345}
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

func TestWriteErrors(t *testing.T) {
	t.Parallel()
	require.ErrorContains(t, Write(t.Context(), io.Discard, File{Rows: -1}), "rows")
	require.ErrorContains(t, Write(t.Context(), io.Discard, File{Users: -1}), "users")
	require.ErrorContains(t, Write(t.Context(), io.Discard, File{Users: 1 << 31}), "users")
	require.NoError(t, Write(t.Context(), io.Discard, File{Rows: 10, Users: 1<<31 - firstUser}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, Write(ctx, io.Discard, File{Rows: 1 << 30}), context.Canceled)
	require.ErrorIs(t, Write(t.Context(), full{}, File{Rows: 1}), errFull)
	require.ErrorIs(t, Write(t.Context(), full{}, File{Rows: 1 << 30}), errFull)
}

var errFull = errors.New("no space left")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

// BenchmarkWrite measures the generator.
func BenchmarkWrite(b *testing.B) {
	const rows = 100_000
	b.ReportAllocs()
	for b.Loop() {
		var n counter
		require.NoError(b, Write(b.Context(), &n, File{Rows: rows, Users: 1000, Seed: 1}))
		require.EqualValues(b, rows+1, n)
	}
	b.ReportMetric(rows*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

// counter counts lines.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(bytes.Count(p, []byte{'\n'}))
	return len(p), nil
}
