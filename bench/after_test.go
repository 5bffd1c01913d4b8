package bench

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opentax/tally/internal/audit"
	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/reject"
	"github.com/opentax/tally/pipeline/load"
	"github.com/opentax/tally/pipeline/transform"
)

// BenchmarkReplay replays rejects that a setting resolves, in a database with ten times as
// many rows, and compares the replay with a load of as many rows of the same form.
func BenchmarkReplay(b *testing.B) {
	n := min(*maxRows, 100_000)
	pool, runID := newServer(b).loaded(b, 10*n)
	loader := load.New(pool, nil)
	unknown, known := transform.Rules{RejectLimit: "100%"}, transform.Rules{RejectLimit: "100%", Slash: "dmy"}
	read := func(name string, i int, rules transform.Rules) (load.Result, time.Duration) {
		path := ambiguousFile(b, n, fmt.Sprint(name, i), uint64(i))
		settle(b, pool)
		began := time.Now()
		r, err := loader.Load(b.Context(), load.Request{RunID: runID, Attempt: 1, Source: "bench", Path: bucket.Path(path), Rules: rules, CodeVersion: "bench"})
		if err != nil {
			b.Fatal(err)
		}
		return r, time.Since(began)
	}
	var replays, loads []float64
	for i := range b.N {
		loaded, took := read("L", 2*i, known)
		loads = append(loads, took.Seconds())
		rejected, _ := read("R", 2*i+1, unknown)
		if loaded.Loaded != n || rejected.Rejected != n {
			b.Fatalf("loaded %d and rejected %d of %d rows", loaded.Loaded, rejected.Rejected, n)
		}
		ids := make([]reject.ID, n)
		for line := range ids {
			ids[line] = reject.ID{FileID: rejected.FileID, Line: int64(line) + 2}
		}
		settle(b, pool)
		began := time.Now()
		r, err := loader.Replay(b.Context(), ids, func(string, transform.Rules) (transform.Rules, bool) { return known, true }, audit.By{Actor: "bench"}, false)
		replays = append(replays, time.Since(began).Seconds())
		if err != nil || r.Loaded != n {
			b.Fatal(r, err)
		}
	}
	reportRatio(b, "replay", replays, loads)
}

// BenchmarkRevert reverts a file from a database with ten times as many other rows, and
// compares the revert with the file's load.
func BenchmarkRevert(b *testing.B) {
	n := *maxRows
	pool, runID := newServer(b).loaded(b, 10*n)
	loader := load.New(pool, nil)
	var reverts, loads []float64
	for i := range b.N {
		path := dirtyFile(b, n, uint64(2+i), n)
		settle(b, pool)
		r, took := timeLoad(b, pool, runID, path)
		loads = append(loads, took.Seconds())
		settle(b, pool)
		began := time.Now()
		back, err := loader.Revert(b.Context(), []int64{r.FileID}, func(_ string, loaded transform.Rules) (transform.Rules, bool) { return loaded, true }, audit.By{Actor: "bench"}, false)
		reverts = append(reverts, time.Since(began).Seconds())
		if err != nil || back.Rows != r.Loaded {
			b.Fatal(back, err)
		}
	}
	reportRatio(b, "revert", reverts, loads)
}

func reportRatio(b *testing.B, what string, ours, loads []float64) {
	b.Helper()
	b.ReportMetric(median(ours), "s/"+what)
	b.ReportMetric(median(loads), "s/load")
	b.ReportMetric(median(ours)/median(loads), "loads")
}

// ambiguousFile is a file of rows whose dates can be read in two ways.
func ambiguousFile(b *testing.B, rows int64, prefix string, seed uint64) string {
	b.Helper()
	file, err := os.Create(filepath.Join(b.TempDir(), "ambiguous.csv"))
	if err != nil {
		b.Fatal(err)
	}
	w, r := bufio.NewWriter(file), rand.New(rand.NewPCG(seed, 1))
	fmt.Fprintln(w, "transaction_id,user_id,amount,transaction_date")
	for i := range rows {
		day := 1 + r.IntN(12)
		fmt.Fprintf(w, "%s-%d,%d,%d.%02d,%02d/%02d/2024\n", prefix, i*7919%rows, 1+r.Int64N(rows), r.IntN(1000), r.IntN(100), day, 1+(day+r.IntN(11))%12)
	}
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
	if err := file.Close(); err != nil {
		b.Fatal(err)
	}
	return file.Name()
}
