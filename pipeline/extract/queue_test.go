package extract

import (
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// large is a result of this many bytes.
type large int

func (l large) Size() int { return int(l) }

// What waits for take is bounded in bytes, whatever the cores. Not parallel: the number of
// cores is the process's.
func TestWaitingResultsAreBounded(t *testing.T) {
	cores := runtime.GOMAXPROCS(maxWorkers)
	defer runtime.GOMAXPROCS(cores)
	for size, most := range map[large]int64{maxWaiting / 4: 3, 2 * maxWaiting: 3, blockBytes: 2*maxWorkers + 2} {
		r := newTestReader(t, strings.NewReader(head+strings.Repeat("T1,7,1.50,2024-01-05\n", 1_000_000)))
		var made, taken, waiting atomic.Int64
		require.NoError(t, Parallel(t.Context(), r, func() func(*Reader) large {
			return func(*Reader) large {
				made.Add(1)
				return size
			}
		}, func(large) error {
			time.Sleep(time.Millisecond)
			waiting.Store(max(waiting.Load(), made.Load()-taken.Add(1)))
			return nil
		}))
		assert.LessOrEqual(t, waiting.Load(), most, size)
		assert.Greater(t, taken.Load(), int64(50))
	}
}
