package summaries

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A thousand callers at once share a few readings, one at a time, with a listener or without, whatever
// their limits; from memory they then need none until a commit is announced.
func TestTopIsShared(t *testing.T) {
	t.Parallel()
	for _, listening := range []bool{true, false} {
		c, r, epoch := faked(t, 0)
		var running atomic.Int64
		r.top = func(context.Context, Order) (TopReading, error) {
			n := epoch.Load()
			assert.Equal(t, int64(1), running.Add(1), "at a time")
			defer running.Add(-1)
			time.Sleep(100 * time.Millisecond)
			return TopReading{Epoch: n, List: []Summary{{UserID: 1, Transactions: n}, {UserID: 2}, {UserID: 3}}}, nil
		}
		var s *session
		if listening {
			s = c.activate(epoch.Load())
		}
		ask := func(limit int) []Summary {
			list, err := c.Top(t.Context(), ByAmount, limit)
			require.NoError(t, err)
			return list
		}
		var callers sync.WaitGroup
		for i := range 1000 {
			callers.Go(func() { assert.Len(t, ask(i%3), i%3) })
		}
		callers.Wait()
		assert.LessOrEqual(t, r.reads.Load(), int64(10))
		if !listening {
			continue
		}
		before := r.reads.Load()
		ask(1)
		assert.Equal(t, before, r.reads.Load())
		c.apply(s, announcement{epoch: epoch.Add(1), users: []int32{3}})
		assert.Equal(t, epoch.Load(), ask(1)[0].Transactions, "as of the commit")
		assert.Equal(t, before+1, r.reads.Load())
	}
}

// A caller does not share a reading that began before its call, perhaps before a commit.
func TestTopIsNotFromBeforeTheCall(t *testing.T) {
	t.Parallel()
	c, r, epoch := faked(t, 0)
	began, goOn := make(chan struct{}, 2), make(chan struct{})
	r.top = func(context.Context, Order) (TopReading, error) {
		n := epoch.Load()
		began <- struct{}{}
		<-goOn
		return TopReading{Epoch: n, List: []Summary{{Transactions: n}}}, nil
	}
	var first sync.WaitGroup
	first.Go(func() { _, _ = c.Top(t.Context(), ByAmount, 1) })
	<-began
	committed := epoch.Add(1)
	time.AfterFunc(50*time.Millisecond, func() { close(goOn) })
	list, err := c.Top(t.Context(), ByAmount, 1)
	require.NoError(t, err)
	assert.Equal(t, committed, list[0].Transactions)
	first.Wait()
}

// Costly reads leave connections to look-ups, and further ones fail in bounded time.
func TestTurns(t *testing.T) {
	t.Parallel()
	busy := make(turns, 1)
	leave, err := busy.Turn(t.Context())
	require.NoError(t, err)
	began := time.Now()
	_, err = busy.Turn(t.Context())
	require.ErrorIs(t, err, ErrBusy)
	assert.GreaterOrEqual(t, time.Since(began), turnWait)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = (&Store{turns: busy}).AsOf(gone, 1, time.Now(), AllDays())
	require.ErrorContains(t, err, "wait for a turn")
	leave()
	leave, err = busy.Turn(t.Context())
	require.NoError(t, err)
	leave()
}
