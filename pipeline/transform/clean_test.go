package transform

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/pipeline/extract"
	"github.com/opentax/tally/pipeline/synthetic"
)

// lines is rows as text, so that two ways of cleaning can be compared.
type lines struct {
	read          int64
	faults        [LastFault + 1]int64
	valid, reject []byte
}

func (l *lines) Size() int { return len(l.valid) + len(l.reject) }
func (l *lines) Reset()    { *l = lines{valid: l.valid[:0], reject: l.reject[:0]} }

func (l *lines) Add(_ *extract.Record, r *Row) {
	l.read++
	l.faults[r.Faults.First()]++
	if r.Faults != 0 {
		l.reject = fmt.Appendf(l.reject, "%d %q %s %q %d %v\n", r.Line, r.ID, strings.Join(r.Faults.Strings(), ","), r.Raw, r.RawLength, r.Hints)
	} else {
		l.valid = fmt.Appendln(l.valid, r.Line, string(r.ID), r.UserID, r.Amount, r.Date)
	}
}

func newLines() *lines { return &lines{} }

type cleaned struct {
	valid, reject bytes.Buffer
	read          int64
	faults        [LastFault + 1]int64
	found         Findings
	lineEnds      string
	empty         int64
}

func cleanedBlocks(t *testing.T, content string) *cleaned {
	t.Helper()
	r, err := newRowReader(strings.NewReader(content), Rules{})
	require.NoError(t, err)
	var got cleaned
	require.NoError(t, Clean(t.Context(), r.Reader, r.Cleaner, newLines, func(l *lines) error {
		got.add(l)
		return nil
	}))
	return got.seen(r)
}

func cleanedRows(t *testing.T, content string) *cleaned {
	t.Helper()
	r, err := newRowReader(strings.NewReader(content), Rules{})
	require.NoError(t, err)
	var got cleaned
	var l lines
	var row Row
	for err = r.Next(&row); err == nil; err = r.Next(&row) {
		l.Add(nil, &row)
	}
	require.ErrorIs(t, err, io.EOF)
	got.add(&l)
	return got.seen(r)
}

func (c *cleaned) add(l *lines) {
	c.read += l.read
	for f, n := range l.faults {
		c.faults[f] += n
	}
	c.valid.Write(l.valid)
	c.reject.Write(l.reject)
}

func (c *cleaned) seen(r *rowReader) *cleaned {
	c.found, c.lineEnds, c.empty = *r.Findings(), r.LineEnds(), r.EmptyLines()
	return c
}

// Whatever is in a file: cleaned block by block on all cores it is the same as row
// by row.
func TestBlocksAreLikeRows(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(7, 7))
	pieces := []string{
		"T%d,7,1.50,2024-01-05\n", "T%d,7,1.50,2024-01-05\r\n", "T%d,8,,03/04/2024\n", "T%d,8,$5,13-04-2024\n", "T%d,8,€ 1.250,2.3.2024\n", "T%d,8,\"75,30\",1e5\n", "\n", "\r\n",
		"\"T%d\",7,1,2024-01-05\n", "\"T%d\n\r\n\",7,1,2024-01-05\n", "T%d,7,\"1,5\"\"\",2024-01-05\r\n", "T%d,7,1,\"2024-01-05\"x\n",
		"T%d,\"7,1,2024-01-05\n", "T%d,7,1\n", "T%d,7,1,2024-01-05,\n", "T%d,7,\x00,2024-01-05\n", "T%d,7,\xff,2024-01-05\n",
		"T%dé,7,1,2024-01-05\n", "T%d,7,1,2024-01-05\r\r\n", "\"T%d\",7,1,2024-01-05\r\r\n", "T%d\r,7,1,2024-01-05\n",
	}
	files := map[string]string{"empty": "", "one": "T1,7,1,2024-01-05", "cr": "T1,7,1,2024-01-05\r", "blank": "\n\n\n"}
	for i := range 18 {
		var b strings.Builder
		quotes := i%2 == 0
		for n := range []int{10, 1000, 16_000}[i%3] {
			piece := pieces[random.IntN(len(pieces))]
			if random.IntN(50) > 0 || !quotes && strings.Contains(piece, `"`) {
				piece = pieces[random.IntN(5)]
			}
			if strings.Contains(piece, "%d") {
				piece = fmt.Sprintf(piece, n)
			}
			b.WriteString(piece)
		}
		content := b.String()
		files[fmt.Sprint("random ", i)] = content[:len(content)-random.IntN(20)]
	}
	long := strings.Repeat("x", extract.MaxRecord)
	files["long"] = "T1,7,1,2024-01-05\n" + long + "\n" + long + "y\n\nT2,7,1,2024-01-05\n\"" + long + "\",7\nT3,7,1,2024-01-05\n"
	files["long quoted"] = "\"" + strings.Repeat("x\n", 200_000) + "\",7,1,2024-01-05\nT3,7,1,2024-01-05\n"
	files["open to the end"] = strings.Repeat("T1,7,1,2024-01-05\n", 16_000) + "\"T2,7,1,2024-01-05\n" + strings.Repeat("T1,7,1,2024-01-05\n", 62_000)
	for name, content := range files {
		want, got := cleanedRows(t, head+content), cleanedBlocks(t, head+content)
		require.Equal(t, want.reject.String(), got.reject.String(), name)
		require.Equal(t, want.valid.String(), got.valid.String(), name)
		want.valid, want.reject, got.valid, got.reject = bytes.Buffer{}, bytes.Buffer{}, bytes.Buffer{}, bytes.Buffer{}
		require.Equal(t, want, got, name)
	}
}

// A reader that fails, and a taker that fails, end the work with their error, and
// no goroutine is left waiting.
func TestBlocksEndWithTheirError(t *testing.T) {
	t.Parallel()
	content := head + strings.Repeat("T1,7,1,2024-01-05\n", 50_000)
	r, err := newRowReader(io.MultiReader(strings.NewReader(content), failing{}), Rules{})
	require.NoError(t, err)
	assert.ErrorIs(t, Clean(t.Context(), r.Reader, r.Cleaner, newLines, func(*lines) error { return nil }), io.ErrClosedPipe)

	r, err = newRowReader(strings.NewReader(content), Rules{})
	require.NoError(t, err)
	assert.ErrorIs(t, Clean(t.Context(), r.Reader, r.Cleaner, newLines, func(*lines) error { return io.ErrShortWrite }), io.ErrShortWrite)

	ctx, cancel := context.WithCancel(t.Context())
	r, err = newRowReader(strings.NewReader(content), Rules{})
	require.NoError(t, err)
	assert.ErrorIs(t, Clean(ctx, r.Reader, r.Cleaner, newLines, func(*lines) error { cancel(); return nil }), context.Canceled)
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }

// count counts rows.
type count struct{ read int64 }

func (c *count) Size() int { return 0 }
func (c *count) Reset()    { *c = count{} }

func (c *count) Add(*extract.Record, *Row) { c.read++ }

func newCount() *count { return &count{} }

// BenchmarkClean is the whole way from bytes to rows, on one core and on all.
func BenchmarkClean(b *testing.B) {
	var content bytes.Buffer
	require.NoError(b, synthetic.Write(b.Context(), &content, synthetic.File{Rows: 300_000, Users: 30_000, Seed: 1}))
	clean := func(b *testing.B) time.Duration {
		b.Helper()
		began := time.Now()
		r, err := newReadingReader(bytes.NewReader(content.Bytes()), Reading{LogicalDate: logicalDate, Conventions: Rules{}.Assume(&Learned{})})
		require.NoError(b, err)
		var read int64
		require.NoError(b, Clean(b.Context(), r.Reader, r.Cleaner, newCount, func(c *count) error { read += c.read; return nil }))
		require.Equal(b, int64(300_000), read)
		return time.Since(began)
	}
	var all, one time.Duration
	for b.Loop() {
		all += clean(b)
		cores := runtime.GOMAXPROCS(1)
		one += clean(b)
		runtime.GOMAXPROCS(cores)
	}
	b.ReportMetric(300_000*float64(b.N)/all.Seconds(), "rows/s")
	b.ReportMetric(one.Seconds()/all.Seconds(), "speedup")
}
