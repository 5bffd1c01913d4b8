package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// keepText writes a reject as a line, and valid rows are made lines as well, so
// that two ways of cleaning can be held against each other.
func keepText(b []byte, r *Row) []byte {
	return fmt.Appendf(b, "%d %q %s %q %d\n", r.Line, r.id, strings.Join(r.Faults.Strings(), ","), r.Raw, r.RawLength)
}

func gatherText() *rows { return &rows{keep: keepText} }

type cleaned struct {
	valid, reject string
	read          int64
	faults        [faultEnd]int64
	evidence      [3]evidence
	counts        counts
}

func cleanedBlocks(t *testing.T, content string) cleaned {
	t.Helper()
	r, err := NewReader(strings.NewReader(content), Rules{})
	require.NoError(t, err)
	var got cleaned
	var valid, reject bytes.Buffer
	require.NoError(t, newCleaner(r, gatherText).clean(t.Context(), func(rows *rows) error {
		got.read += rows.read
		for f, n := range rows.faults {
			got.faults[f] += n
		}
		reject.Write(rows.reject)
		return rows.each(func(p packed) error {
			fmt.Fprintln(&valid, p.line(), string(p.id()), p.user(), p.amount(), p.date())
			return nil
		})
	}))
	got.valid, got.reject, got.evidence = valid.String(), reject.String(), [3]evidence{r.slash, r.dash, r.dot}
	got.counts = r.scan.counts
	return got
}

func cleanedRows(t *testing.T, content string) cleaned {
	t.Helper()
	r, err := NewReader(strings.NewReader(content), Rules{})
	require.NoError(t, err)
	var got cleaned
	var valid, reject bytes.Buffer
	var row Row
	for {
		err := r.Next(&row)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		got.read++
		got.faults[row.Faults.First()]++
		if row.Faults != 0 {
			reject.Write(keepText(nil, &row))
			continue
		}
		fmt.Fprintln(&valid, row.Line, row.TransactionID, row.UserID, row.Amount, row.Date)
	}
	got.valid, got.reject, got.evidence = valid.String(), reject.String(), [3]evidence{r.slash, r.dash, r.dot}
	got.counts = r.scan.counts
	return got
}

// Whatever is in a file: cleaned block by block on all cores it is the same as row
// by row.
func TestBlocksAreLikeRows(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(7, 7))
	pieces := []string{
		"T%d,7,1.50,2024-01-05\n", "T%d,7,1.50,2024-01-05\r\n", "T%d,8,,03/04/2024\n", "T%d,8,$5,13-04-2024\n", "\n", "\r\n",
		"\"T%d\",7,1,2024-01-05\n", "\"T%d\n\r\n\",7,1,2024-01-05\n", "T%d,7,\"1,5\"\"\",2024-01-05\r\n", "T%d,7,1,\"2024-01-05\"x\n",
		"T%d,\"7,1,2024-01-05\n", "T%d,7,1\n", "T%d,7,1,2024-01-05,\n", "T%d,7,\x00,2024-01-05\n", "T%d,7,\xff,2024-01-05\n",
		"T%dé,7,1,2024-01-05\n", "T%d,7,1,2024-01-05\r\r\n", "\"T%d\",7,1,2024-01-05\r\r\n", "T%d\r,7,1,2024-01-05\n",
	}
	files := map[string]string{"empty": "", "one": "T1,7,1,2024-01-05", "cr": "T1,7,1,2024-01-05\r", "blank": "\n\n\n"}
	for i := range 18 {
		var b strings.Builder
		quotes := i%2 == 0
		for n := range []int{10, 1000, 30_000}[i%3] {
			piece := pieces[random.IntN(len(pieces))]
			if random.IntN(50) > 0 || !quotes && strings.Contains(piece, `"`) {
				piece = pieces[random.IntN(4)]
			}
			if strings.Contains(piece, "%d") {
				piece = fmt.Sprintf(piece, n)
			}
			b.WriteString(piece)
		}
		content := b.String()
		files[fmt.Sprint("random ", i)] = content[:len(content)-random.IntN(20)]
	}
	long := strings.Repeat("x", MaxRecord)
	files["long"] = "T1,7,1,2024-01-05\n" + long + "\n" + long + "y\n\nT2,7,1,2024-01-05\n\"" + long + "\",7\nT3,7,1,2024-01-05\n"
	files["long quoted"] = "\"" + strings.Repeat("x\n", 200_000) + "\",7,1,2024-01-05\nT3,7,1,2024-01-05\n"
	files["open to the end"] = strings.Repeat("T1,7,1,2024-01-05\n", 20_000) + "\"T2,7,1,2024-01-05\n" + strings.Repeat("T1,7,1,2024-01-05\n", 90_000)
	for name, content := range files {
		want, got := cleanedRows(t, head+content), cleanedBlocks(t, head+content)
		require.Equal(t, want.reject, got.reject, name)
		require.Equal(t, want.valid, got.valid, name)
		require.Equal(t, want, got, name)
	}
}

// A reader that fails, and a taker that fails, end the work with their error, and
// nobody is left waiting.
func TestBlocksEndWithTheirError(t *testing.T) {
	t.Parallel()
	content := head + strings.Repeat("T1,7,1,2024-01-05\n", 100_000)
	r, err := NewReader(io.MultiReader(strings.NewReader(content), failing{}), Rules{})
	require.NoError(t, err)
	assert.ErrorIs(t, newCleaner(r, gatherText).clean(t.Context(), func(*rows) error { return nil }), io.ErrClosedPipe)

	r, err = NewReader(strings.NewReader(content), Rules{})
	require.NoError(t, err)
	assert.ErrorIs(t, newCleaner(r, gatherText).clean(t.Context(), func(*rows) error { return io.ErrShortWrite }), io.ErrShortWrite)

	ctx, cancel := context.WithCancel(t.Context())
	r, err = NewReader(strings.NewReader(content), Rules{})
	require.NoError(t, err)
	assert.ErrorIs(t, newCleaner(r, gatherText).clean(ctx, func(*rows) error { cancel(); return nil }), context.Canceled)
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }

// BenchmarkClean is the whole way from bytes to packed rows, on one core and on all.
func BenchmarkClean(b *testing.B) {
	var content bytes.Buffer
	require.NoError(b, Generate(b.Context(), &content, Generator{Rows: 300_000, Users: 30_000, Seed: 1}))
	clean := func(b *testing.B) time.Duration {
		b.Helper()
		began := time.Now()
		r, err := NewReader(bytes.NewReader(content.Bytes()), Rules{})
		require.NoError(b, err)
		var read int64
		require.NoError(b, newCleaner(r, gatherText).clean(b.Context(), func(r *rows) error { read += r.read; return nil }))
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
