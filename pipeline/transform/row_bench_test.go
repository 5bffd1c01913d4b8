package transform

import (
	"bytes"
	"encoding/csv"
	"io"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/pipeline/synthetic"
)

// BenchmarkReader measures rows read and cleaned against encoding/csv, which
// only cuts them into fields.
func BenchmarkReader(b *testing.B) {
	for _, rows := range []int64{1_000, 1_000_000} {
		plain := generated(b, synthetic.File{Rows: rows, Users: 100_000, Seed: 1})
		b.Run("rows="+strconv.FormatInt(rows, 10), func(b *testing.B) {
			b.Run("of=pipeline", func(b *testing.B) { benchmarkPipeline(b, plain, rows) })
			b.Run("of=encodingcsv", func(b *testing.B) { benchmarkEncodingCSV(b, plain, rows) })
		})
	}
	const rows = 100_000
	plain := generated(b, synthetic.File{Rows: rows, Users: 100_000, Seed: 1})
	b.Run("quoted", func(b *testing.B) {
		all := quoteAll(plain)
		b.Run("of=pipeline", func(b *testing.B) { benchmarkPipeline(b, all, rows) })
		b.Run("of=encodingcsv", func(b *testing.B) { benchmarkEncodingCSV(b, all, rows) })
	})
}

func benchmarkPipeline(b *testing.B, content []byte, rows int64) {
	b.SetBytes(int64(len(content)))
	b.ReportAllocs()
	for b.Loop() {
		r, err := newReadingReader(bytes.NewReader(content), Reading{LogicalDate: logicalDate, Conventions: Rules{}.Assume(&Learned{})})
		require.NoError(b, err)
		var row Row
		var read, valid int64
		for err = r.Next(&row); err == nil; err = r.Next(&row) {
			read++
			if row.Faults == 0 {
				valid++
			}
		}
		require.ErrorIs(b, err, io.EOF)
		require.Equal(b, rows, read)
		require.InDelta(b, 0.797, float64(valid)/float64(read), 0.04)
	}
	b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

func benchmarkEncodingCSV(b *testing.B, content []byte, rows int64) {
	b.SetBytes(int64(len(content)))
	b.ReportAllocs()
	for b.Loop() {
		r := csv.NewReader(bytes.NewReader(content))
		r.ReuseRecord = true
		var read int64
		_, err := r.Read()
		for ; err == nil; _, err = r.Read() {
			read++
		}
		require.ErrorIs(b, err, io.EOF)
		require.Equal(b, rows+1, read)
	}
	b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

func generated(tb testing.TB, f synthetic.File) []byte {
	tb.Helper()
	var b bytes.Buffer
	require.NoError(tb, synthetic.Write(tb.Context(), &b, f))
	return b.Bytes()
}

func quoteAll(content []byte) []byte {
	content = bytes.TrimSuffix(content, []byte{'\n'})
	content = bytes.ReplaceAll(content, []byte(","), []byte(`","`))
	content = bytes.ReplaceAll(content, []byte("\n"), []byte("\"\n\""))
	return append(append([]byte{'"'}, content...), '"', '\n')
}
