package load_test

import (
	"fmt"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/pipeline/load"
)

// A file of bad lines is read, and its rows are written, only as far as the limit allows.
func TestReadingStopsPastTheRejectLimit(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.rules.RejectLimit = "10"
	good := strings.Repeat("T,7,1,2024-01-05\n", 5)
	got := f.load("bad.csv", header+good+strings.Repeat("T1,7,never,2024-01-05\n", 200_000))
	require.Equal(t, load.CodeRejectLimit, got.ErrorCode)
	assert.Contains(t, got.Error, "bad.csv: reject_limit: stopped at line 17: 11 of 16 rows rejected, over the limit of 10 (")
	assert.Equal(t, "16 11 map[invalid_amount:11]", fmt.Sprint(got.Read, got.Rejected, got.Faults))
	assert.Equal(t, "16 11 7:17", one[string](f, `SELECT concat_ws(' ', read, rejected, (SELECT concat(min(line), ':', max(line)) FROM etl_rejects)) FROM etl_files`))
	assert.EqualValues(t, 11, one[int64](f, "SELECT count(*) FROM etl_rejects"))
	assert.Less(t, one[int64](f, "SELECT pg_table_size('etl_rejects')"), int64(100_000), "also of rows that were rolled back")

	f.rules.RejectLimit = "10%"
	share := f.load("share.csv", header+good+strings.Repeat("T1,7,,2024-01-05\n", 20_000))
	assert.Contains(t, share.Error, "stopped at line 2007: 2001 of 2006 rows rejected, over the limit of 10%")
	assert.EqualValues(t, 1000, one[int64](f, "SELECT count(*) FROM etl_rejects WHERE file_id = $1", share.FileID))
}

// Rows that other conventions make valid do not stop the reading that finds these.
func TestRejectLimitWaitsForConventions(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.rules.RejectLimit, f.rules.To = "1", "2024-06-30"
	got := f.load("a.csv", rowsOf("A 5 12/01/2024", "B 5 12/01/2024", "C 5 12/01/2024", "D 5 24/01/2024"))
	assert.EqualValues(t, 4, got.Loaded, got.Error)

	f.rules.RejectLimit = "2"
	unknown := f.load("b.csv", rowsOf("E 5 03/04/2024", "F 5 03/04/2024", "G 5 never", "H 5 03/04/2024", "I 5 03/04/2024"))
	assert.Contains(t, unknown.Error, "stopped at line 4: 3 of 3 rows rejected, over the limit of 2")
	require.Len(t, unknown.Hints, 1)
	assert.Contains(t, unknown.Hints[0], "slash: 2 rows with ambiguous_date, first line 2: ")
}

// A file of bad rows takes no more memory on many cores. Not parallel: the number of cores
// is the process's, and so is the memory.
func TestMemoryOfRejectedRows(t *testing.T) {
	f := newFixture(t)
	f.rules.RejectLimit = "100%"
	path := f.write("a.csv", header+strings.Repeat(",,1e5,45000\n", 400_000)) // with two long hints each
	cores := runtime.GOMAXPROCS(16)
	defer runtime.GOMAXPROCS(cores)
	runtime.GC()
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(heap)
	before, peak, done := heap[0].Value.Uint64(), uint64(0), make(chan struct{})
	var sampling sync.WaitGroup
	sampling.Go(func() {
		for {
			metrics.Read(heap)
			peak = max(peak, heap[0].Value.Uint64())
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
	got := f.loadPath(path)
	close(done)
	sampling.Wait()
	assert.EqualValues(t, 400_000, got.Rejected, got.Error)
	assert.Less(t, (peak-before)>>20, uint64(200), "MiB")
	t.Log("MiB:", (peak-before)>>20)
}
