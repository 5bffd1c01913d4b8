package bench

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/pipeline/transform"
)

// BenchmarkCheck profiles a file, which reads and cleans all rows. The peer is
// encoding/csv, which only reads the file.
func BenchmarkCheck(b *testing.B) {
	for _, n := range sizes() {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			path := dirtyFile(b, n, 1, n/10)
			var ours, peer time.Duration
			for range b.N {
				began := time.Now()
				p, err := transform.Check(b.Context(), nil, bucket.Path(path), transform.Rules{}, 0)
				ours += time.Since(began)
				if err != nil || p.Read != n {
					b.Fatalf("%d of %d rows: %v", p.Read, n, err)
				}
				began = time.Now()
				rows, err := readCSV(path)
				peer += time.Since(began)
				if err != nil || rows != n+1 {
					b.Fatalf("encoding/csv read %d rows: %v", rows, err)
				}
			}
			report(b, n, ours)
			b.ReportMetric(peer.Seconds()/ours.Seconds(), "of-encoding/csv")
		})
	}
}

func readCSV(path string) (rows int64, err error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	reader := csv.NewReader(bufio.NewReaderSize(file, 128<<10))
	reader.ReuseRecord = true
	for {
		if _, err := reader.Read(); errors.Is(err, io.EOF) {
			return rows, nil
		} else if err != nil {
			return rows, err
		}
		rows++
	}
}
