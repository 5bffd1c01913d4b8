// Package extsort is an external merge sort for records that may not fit in memory.
// Records are short byte strings. They are stored contiguously in a few large blocks, so
// sorting a million records makes only a few allocations.
package extsort

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Order is the order of a sorter's records.
type Order struct {
	// Key returns the first eight bytes of the sort key as a number, so that most
	// comparisons compare two numbers.
	Key func(record []byte) uint64
	// Rest compares two records whose Keys are equal.
	Rest func(a, b []byte) int
}

const (
	// Each chunk has twice the size of the previous one, from firstChunk to Limits.Chunk.
	// After filesPerSize files the size doubles again, up to maxChunk, to bound the
	// number of files. Sizes are in bytes.
	firstChunk    = 256 << 10
	defaultChunk  = 4 << 20
	maxChunk      = 64 << 20
	filesPerSize  = 128
	defaultMemory = 40 << 20
	typicalRecord = 40 // estimates the number of records in a new chunk
	maxSorting    = 4  // chunks that are sorted concurrently
	maxRecord     = 1<<16 - 1
)

// Limits are the sizes of a sorter's buffers. They do not affect the result.
type Limits struct {
	Chunk  int // bytes per chunk; default 4 MiB
	Memory int // bytes of records kept in memory, beyond which all are written to disk; default 40 MiB
}

// Sorter sorts full chunks in the background while records are added. If the chunks
// exceed Limits.Memory, it writes them to temporary files. It uses at most about 60 MiB,
// and less for few records. The result is deterministic if no two records compare equal.
// A Sorter is not safe for concurrent use, and must be closed.
type Sorter struct {
	order   Order
	limits  Limits
	ctx     context.Context // canceled when sorting fails
	filling *chunk
	sorting *errgroup.Group
	size    int      // of the newest chunk
	memory  []*chunk // sorted, or being sorted
	held    int      // capacity of memory in bytes
	files   []*os.File
	free    chan *chunk
	count   int64
}

// New returns a sorter. It allocates its first chunk with the first record.
func New(ctx context.Context, order Order, limits Limits) *Sorter {
	limits = Limits{Chunk: cmp.Or(limits.Chunk, defaultChunk), Memory: cmp.Or(limits.Memory, defaultMemory)}
	s := &Sorter{order: order, limits: limits, free: make(chan *chunk, maxSorting)}
	s.sorting, s.ctx = errgroup.WithContext(ctx)
	s.sorting.SetLimit(min(runtime.GOMAXPROCS(0), maxSorting))
	return s
}

// Len returns the number of records added.
func (s *Sorter) Len() int64 { return s.count }

// Add adds a copy of a record of at most 65535 bytes. It returns an error if a temporary
// file cannot be written or the context is done.
func (s *Sorter) Add(record []byte) error {
	if len(record) > maxRecord {
		return fmt.Errorf("sort: a record has %d bytes, more than the maximum of %d", len(record), maxRecord)
	}
	c := s.filling
	if c == nil || len(c.records) > 0 && len(c.records)+2+len(record) > cap(c.records) {
		if err := s.seal(); err != nil {
			return err
		}
		c = s.take()
		s.filling = c
	}
	c.entries = append(c.entries, entry{at: uint32(len(c.records))})
	c.records = append(binary.LittleEndian.AppendUint16(c.records, uint16(len(record))), record...)
	s.count++
	return nil
}

func (s *Sorter) take() *chunk {
	if size := s.nextSize(); size != s.size { // free chunks have the previous size
		s.size, s.free = size, make(chan *chunk, maxSorting)
	}
	select {
	case c := <-s.free:
		return c
	default:
		return &chunk{records: make([]byte, 0, s.size), entries: make([]entry, 0, s.size/typicalRecord)}
	}
}

func (s *Sorter) nextSize() int {
	if s.size < s.limits.Chunk {
		return min(max(2*s.size, firstChunk), s.limits.Chunk)
	}
	return min(s.limits.Chunk<<(len(s.files)/filesPerSize), maxChunk)
}

// seal sorts the current chunk in the background. If it exceeds Limits.Memory, all chunks
// in memory are written to disk.
func (s *Sorter) seal() error {
	if s.filling == nil {
		return context.Cause(s.ctx)
	}
	c := s.filling
	s.filling = nil
	sorted := sync.OnceFunc(func() { c.sort(s.order) }) // a chunk may be spilled before its sort starts
	c.sorted = sorted
	s.memory = append(s.memory, c)
	s.held += cap(c.records)
	if s.held <= s.limits.Memory && len(s.files) == 0 {
		s.sorting.Go(func() error { sorted(); return nil })
		return context.Cause(s.ctx)
	}
	for _, c := range s.memory {
		if err := s.spill(c); err != nil {
			return err
		}
	}
	s.memory, s.held = nil, 0
	return context.Cause(s.ctx)
}

func (s *Sorter) spill(c *chunk) error {
	f, err := createFile()
	if err != nil {
		return explain(err)
	}
	s.files = append(s.files, f)
	free, size := s.free, s.size
	s.sorting.Go(func() error {
		c.sorted()
		err := c.write(f)
		if cap(c.records) == size { // reuse it
			c.records, c.entries = c.records[:0], c.entries[:0]
			select {
			case free <- c:
			default:
			}
		}
		return explain(err)
	})
	return nil
}

// Sorted returns the records in order. They can be read once; no more can be added.
func (s *Sorter) Sorted() (*Merge, error) {
	if err := s.seal(); err != nil {
		return nil, err
	}
	if err := s.sorting.Wait(); err != nil {
		return nil, err
	}
	var runs []run
	for _, c := range s.memory {
		runs = append(runs, c.read())
	}
	s.free, s.memory = nil, nil // each run releases its chunk when it has been read
	for _, f := range s.files {
		runs = append(runs, readFile(f))
	}
	return merge(s.order, runs)
}

// Close waits for the background sorts and releases memory and files. It may be called
// at any time.
func (s *Sorter) Close() {
	_ = s.sorting.Wait() // Sorted returned the error, or was not called
	for _, f := range s.files {
		_ = f.Close()           // the data is temporary
		_ = os.Remove(f.Name()) // usually already removed
	}
	s.memory, s.files, s.filling = nil, nil, nil
}

// chunk is a block of records that is sorted as a unit.
type chunk struct {
	records []byte // each prefixed with its length in two bytes
	entries []entry
	sorted  func() // sorts the records, or waits until they are sorted
}

type entry struct {
	key uint64
	at  uint32 // offset of the record's length
}

func (c *chunk) record(at uint32) []byte {
	n := uint32(binary.LittleEndian.Uint16(c.records[at:]))
	return c.records[at+2 : at+2+n : at+2+n]
}

func (c *chunk) read() run {
	i := -1
	return func() ([]byte, error) {
		if i++; i == len(c.entries) {
			return nil, io.EOF
		}
		return c.record(c.entries[i].at), nil
	}
}

func (c *chunk) sort(order Order) {
	for i, e := range c.entries {
		c.entries[i].key = order.Key(c.record(e.at))
	}
	slices.SortFunc(c.entries, func(a, b entry) int {
		if a.key != b.key {
			return cmp.Compare(a.key, b.key)
		}
		return order.Rest(c.record(a.at), c.record(b.at))
	})
}
