package logbuffer_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/logbuffer"
)

// sink remembers what was written together.
type sink struct {
	mu      sync.Mutex
	written []string
	err     error
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	s.written = append(s.written, string(p))
	return len(p), nil
}

func (s *sink) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.written...)
}

func TestLinesWaitATenthOfASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out sink
		w := logbuffer.New(&out)
		for round := range 3 { // the timer runs anew each time
			fmt.Fprintln(w, round, "a")
			time.Sleep(60 * time.Millisecond)
			fmt.Fprintln(w, round, "b")
			time.Sleep(39 * time.Millisecond)
			require.Len(t, out.all(), round, "too early")
			time.Sleep(2 * time.Millisecond)
			require.Len(t, out.all(), round+1, "too late")
			assert.Equal(t, fmt.Sprintf("%d a\n%d b\n", round, round), out.all()[round])
		}
	})
}

func TestFlushLeavesNothing(t *testing.T) {
	t.Parallel()
	var out sink
	w := logbuffer.New(&out)
	require.NoError(t, w.Flush())
	fmt.Fprintln(w, "last words")
	require.NoError(t, w.Flush())
	require.NoError(t, w.Flush())
	assert.Equal(t, []string{"last words\n"}, out.all())
}

func TestAFullBufferIsWritten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out sink
		w := logbuffer.New(&out)
		line := strings.Repeat("x", 1023) + "\n"
		for range 64 {
			_, err := w.Write([]byte(line))
			require.NoError(t, err)
		}
		require.Equal(t, []string{strings.Repeat(line, 64)}, out.all())
		time.Sleep(time.Second)
		assert.Len(t, out.all(), 1, "nothing is left for the timer")
	})
}

func TestPromptLinesTakeTheOthersAlong(t *testing.T) {
	t.Parallel()
	var out sink
	w := logbuffer.New(&out)
	plain := slog.NewTextHandler(w, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
	slog.New(plain).Info("patient")
	require.Empty(t, out.all())
	slog.New(w.Prompt(plain)).With("a", 1).WithGroup("g").Info("prompt", "b", 2)
	assert.Equal(t, []string{"level=INFO msg=patient\nlevel=INFO msg=prompt a=1 g.b=2\n"}, out.all())
}

func TestAnErrorIsNotForGood(t *testing.T) {
	t.Parallel()
	out := sink{err: errors.New("no space")}
	w := logbuffer.New(&out)
	fmt.Fprintln(w, "lost")
	require.ErrorIs(t, w.Flush(), out.err)
	out.err = nil
	fmt.Fprintln(w, "kept")
	require.NoError(t, w.Flush())
	assert.Equal(t, []string{"kept\n"}, out.all())
}

func TestLinesOfManyStayWhole(t *testing.T) {
	t.Parallel()
	var out sink
	w := logbuffer.New(&out)
	logger := slog.New(slog.NewTextHandler(w, nil))
	var writers sync.WaitGroup
	for i := range 8 {
		writers.Go(func() {
			for k := range 2_000 {
				logger.Info("line", "writer", i, "number", k)
			}
		})
	}
	writers.Wait()
	require.NoError(t, w.Flush())
	lines := strings.Split(strings.Join(out.all(), ""), "\n")
	require.Len(t, lines, 16_001, "with an empty one behind the last line's end")
	for _, line := range lines[:16_000] {
		require.Regexp(t, `^time=\S+ level=INFO msg=line writer=\d number=\d+$`, line)
	}
}
