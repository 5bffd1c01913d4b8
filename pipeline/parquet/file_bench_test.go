package parquet

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	peer "github.com/parquet-go/parquet-go"
	library "github.com/xitongsys/parquet-go/parquet"
	"github.com/xitongsys/parquet-go/writer"

	"github.com/opentax/tally/internal/pgcopy"
)

// libraryRow is a row of transactions as xitongsys/parquet-go wants it, with the
// encodings that it has and that suit the columns best.
type libraryRow struct {
	ID              int64  `parquet:"name=id, type=INT64, encoding=DELTA_BINARY_PACKED"`
	TransactionID   string `parquet:"name=transaction_id, type=BYTE_ARRAY, convertedtype=UTF8"`
	UserID          int32  `parquet:"name=user_id, type=INT32, encoding=DELTA_BINARY_PACKED"`
	Amount          int64  `parquet:"name=amount, type=INT64, convertedtype=DECIMAL, scale=4, precision=18"`
	TransactionDate int32  `parquet:"name=transaction_date, type=INT32, convertedtype=DATE, encoding=DELTA_BINARY_PACKED"`
	FileID          int64  `parquet:"name=file_id, type=INT64, encoding=DELTA_BINARY_PACKED"`
	Line            int64  `parquet:"name=line, type=INT64, encoding=DELTA_BINARY_PACKED"`
}

// peerRow is the same for parquet-go/parquet-go.
type peerRow struct {
	ID              int64  `parquet:"id,delta,zstd"`
	TransactionID   string `parquet:"transaction_id,zstd"`
	UserID          int32  `parquet:"user_id,delta,zstd"`
	Amount          int64  `parquet:"amount,decimal(4:18),zstd"`
	TransactionDate int32  `parquet:"transaction_date,date,delta,zstd"`
	FileID          int64  `parquet:"file_id,delta,zstd"`
	Line            int64  `parquet:"line,delta,zstd"`
}

// written counts bytes.
type written struct{ n int64 }

// Write counts.
func (w *written) Write(p []byte) (int, error) {
	w.n += int64(len(p))
	return len(p), nil
}

// BenchmarkFile writes a file of 100,000 transactions, three rows a user: with Tally's
// pages, with xitongsys/parquet-go's own, by default and with the same encodings, and with
// parquet-go/parquet-go. Tally's takes the rows as PostgreSQL sends them, the others take
// structs that are made already.
func BenchmarkFile(b *testing.B) {
	const n = 100_000
	rows := make([]libraryRow, n)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range rows {
		rows[i] = libraryRow{
			ID: int64(i), TransactionID: fmt.Sprintf("TXN%010d", r.Int64N(1e10)), UserID: int32(1000 + i/3), Amount: (r.Int64N(1e6) - 3e5) * 100,
			TransactionDate: 19700 + r.Int32N(30), FileID: 1 + r.Int64N(20), Line: r.Int64N(1e7),
		}
	}
	sent := wire(rows)
	ways := []struct {
		name  string
		write func(io.Writer) error
	}{
		{"tally", func(w io.Writer) error { return writeTally(w, sent) }},
		{"xitongsys", func(w io.Writer) error { return writeLibrary(w, rows, 8*1024) }},
		{"xitongsys-large-pages", func(w io.Writer) error { return writeLibrary(w, rows, 256*1024) }},
		{"parquet-go", func(w io.Writer) error { return writePeer(w, rows) }},
	}

	took, size := make([]time.Duration, len(ways)), make([]int64, len(ways))
	b.ResetTimer()
	for range b.N {
		for i, way := range ways {
			var w written
			began := time.Now()
			if err := way.write(&w); err != nil {
				b.Fatal(way.name, err)
			}
			took[i] += time.Since(began)
			size[i] = w.n
		}
	}
	for i, way := range ways {
		b.ReportMetric(float64(took[i].Nanoseconds())/float64(b.N)/n, "ns-per-row/"+way.name)
		b.ReportMetric(float64(size[i])/n, "bytes-per-row/"+way.name)
	}
}

// wire is the rows as PostgreSQL sends them.
func wire(rows []libraryRow) [][][]byte {
	all := make([][][]byte, len(rows))
	long := func(v int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(v)) }
	short := func(v int32) []byte { return binary.BigEndian.AppendUint32(nil, uint32(v)) }
	for i, r := range rows {
		all[i] = [][]byte{
			long(r.ID), []byte(r.TransactionID), short(r.UserID), long(int64(math.Float64bits(float64(r.Amount) / 1e4))),
			short(r.TransactionDate - pgcopy.Epoch), long(r.FileID), long(r.Line),
		}
	}
	return all
}

func writeTally(w io.Writer, rows [][][]byte) error {
	encoder, err := newEncoder()
	if err != nil {
		return err
	}
	f, err := newFile(w, tables()[0], encoder)
	if err != nil {
		return err
	}
	for _, values := range rows {
		if err := f.addRow(values); err != nil {
			return err
		}
	}
	return f.close()
}

func writeLibrary(w io.Writer, rows []libraryRow, page int64) error {
	f, err := writer.NewParquetWriterFromWriter(w, new(libraryRow), 1)
	if err != nil {
		return err
	}
	f.CompressionType, f.PageSize = library.CompressionCodec_ZSTD, page
	for i := range rows {
		if err := f.Write(rows[i]); err != nil {
			return err
		}
	}
	return f.WriteStop()
}

func writePeer(w io.Writer, rows []libraryRow) error {
	f := peer.NewGenericWriter[peerRow](w)
	batch := make([]peerRow, 0, 1000)
	for i, r := range rows {
		batch = append(batch, peerRow(r))
		if len(batch) == cap(batch) || i == len(rows)-1 {
			if _, err := f.Write(batch); err != nil {
				return err
			}
			batch = batch[:0]
		}
	}
	return f.Close()
}
