package extsort

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// byText sorts by all but the first four bytes, which are padding.
func byText() Order {
	start := func(r []byte) []byte { return r[4:] }
	return Order{
		Key: func(r []byte) uint64 {
			var b [8]byte
			copy(b[:], start(r))
			return binary.BigEndian.Uint64(b[:])
		},
		Rest: func(a, b []byte) int {
			return cmp.Or(bytes.Compare(start(a), start(b)), bytes.Compare(a, b))
		},
	}
}

func all(t *testing.T, s *Sorter) []string {
	t.Helper()
	m, err := s.Sorted()
	require.NoError(t, err)
	var got []string
	for {
		r, err := m.Next()
		if errors.Is(err, io.EOF) {
			_, err = m.Next()
			require.ErrorIs(t, err, io.EOF, "a second call after the end")
			return got
		}
		require.NoError(t, err)
		got = append(got, string(r))
	}
}

// Numbers and lengths of records, also more than fit in memory.
func TestSorted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ n, length, spilled int }{{0, 8, 0}, {1, 8, 0}, {1000, 8, 0}, {100_000, 20, 0}, {9000, 9000, 7}, {200, 65535, 0}} {
		t.Run(fmt.Sprint(c.n, " of ", c.length), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(uint64(c.n), uint64(c.length)))
			s := New(t.Context(), byText(), Limits{})
			defer s.Close()
			var want []string
			record := make([]byte, c.length)
			for range c.n {
				binary.LittleEndian.PutUint32(record, random.Uint32())
				copy(record[4:], fmt.Sprintf("T%03d", random.IntN(1000))) // many duplicates
				require.NoError(t, s.Add(record))
				want = append(want, string(record))
			}
			assert.Equal(t, int64(c.n), s.Len())
			slices.SortFunc(want, func(a, b string) int { return byText().Rest([]byte(a), []byte(b)) })
			got := all(t, s)
			assert.Equal(t, c.spilled > 0, len(s.files) > 0)
			require.Len(t, got, len(want))
			for i := range want {
				require.Equal(t, want[i], got[i])
			}
		})
	}
}

// Chunks of one record, more than filesPerSize files, and chunks that are spilled while
// they are being sorted in memory. The schedule varies, so each case runs many times.
func TestLimitsDoNotAffectResult(t *testing.T) {
	t.Parallel()
	for _, limits := range []Limits{{Chunk: 1, Memory: 1}, {Chunk: 64, Memory: 1 << 20}, {Chunk: 1000, Memory: 3000}} {
		for seed := range uint64(50) { // in parallel, so that background sorts start late
			t.Run(fmt.Sprint(limits, seed), func(t *testing.T) {
				t.Parallel()
				s := New(t.Context(), byText(), limits)
				defer s.Close()
				var want []string
				random := rand.New(rand.NewPCG(1, seed))
				for range 300 {
					record := fmt.Sprintf("....T%0*d", random.IntN(9)+1, random.IntN(1000))
					want = append(want, record)
					require.NoError(t, s.Add([]byte(record)))
				}
				slices.Sort(want)
				assert.Equal(t, want, all(t, s))
			})
		}
	}
}

// The chunks that are sorted, and one that waits or is being filled, fit into the memory that is
// documented, however many files there are.
func TestMemoryOfChunks(t *testing.T) {
	t.Parallel()
	s := New(t.Context(), byText(), Limits{})
	defer s.Close()
	for s.size < s.limits.Chunk {
		s.size = s.nextSize()
	}
	for range 10_000 {
		size := s.nextSize()
		require.LessOrEqual(t, (maxSorting+1)*(size+size/typicalRecord*int(unsafe.Sizeof(entry{}))), 60<<20)
		s.files = append(s.files, nil)
	}
	s.files = nil
}

// Records of different lengths with a common prefix.
func TestCommonPrefix(t *testing.T) {
	t.Parallel()
	s := New(t.Context(), byText(), Limits{})
	defer s.Close()
	want := []string{"....TXN1", "....TXN12", "....TXN123456789", "....TXN1234567890", "....TXN2"}
	for _, i := range []int{3, 1, 4, 0, 2} {
		require.NoError(t, s.Add([]byte(want[i])))
	}
	assert.Equal(t, want, all(t, s))
}

func TestErrors(t *testing.T) {
	s := New(t.Context(), byText(), Limits{})
	defer s.Close()
	assert.ErrorContains(t, s.Add(make([]byte, 65536)), "65536 bytes")

	fill := func(s *Sorter) (err error) {
		for range 2 * defaultMemory / 60_000 {
			if err = s.Add(make([]byte, 60_000)); err != nil {
				return err
			}
		}
		return nil
	}
	t.Setenv("TMPDIR", t.TempDir()+"/nowhere")
	assert.ErrorContains(t, fill(s), "TMPDIR")
	t.Setenv("TMPDIR", t.TempDir())

	ctx, cancel := context.WithCancel(t.Context())
	canceled := New(ctx, byText(), Limits{})
	cancel()
	assert.ErrorIs(t, fill(canceled), context.Canceled)
	_, err := canceled.Sorted()
	require.ErrorIs(t, err, context.Canceled)
	canceled.Close()

	whole := New(t.Context(), byText(), Limits{})
	require.NoError(t, fill(whole))
	left, err := os.ReadDir(os.TempDir())
	require.NoError(t, err)
	assert.Empty(t, left, "temporary files are unlinked")
	whole.Close()
	whole.Close()
}

func TestAPanicIsAnError(t *testing.T) {
	t.Parallel()
	for _, limits := range []Limits{{}, {Memory: 1}} { // in memory, and in a file
		s := New(t.Context(), Order{Key: func([]byte) uint64 { return 0 }, Rest: func([]byte, []byte) int { panic("a bug") }}, limits)
		defer s.Close()
		require.NoError(t, s.Add([]byte("aaaa")))
		require.NoError(t, s.Add([]byte("aaaa")))
		_, err := s.Sorted()
		require.ErrorContains(t, err, "panic: a bug")
	}
}
