// Package extsort is an external merge sort for records that may not fit in memory.
// Records are short byte strings. They are stored contiguously in a few large blocks, so
// sorting a million records makes only a few allocations.
package extsort

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/opentax/tally/internal/panics"
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
	// After filesPerSize files the size doubles again, up to maxChunk: fewer files need less
	// memory while they are merged, and larger chunks more while they are sorted. Sizes are in bytes.
	firstChunk    = 256 << 10
	defaultChunk  = 4 << 20
	maxChunk      = 8 << 20
	filesPerSize  = 128
	defaultMemory = 40 << 20
	typicalRecord = 40 // estimates the number of records in a new chunk
	maxSorting    = 4  // chunks that are sorted concurrently
	maxRecord     = 1<<16 - 1
	fileBuffer    = 32 << 10 // bytes per file
)

// Limits are the sizes of a sorter's buffers. They do not affect the result.
type Limits struct {
	Chunk  int // bytes per chunk; default 4 MiB
	Memory int // bytes of records kept in memory, beyond which all are written to disk; default 40 MiB
}

// Sorter sorts full chunks in the background while records are added. If the chunks
// exceed Limits.Memory, it writes them to temporary files. It uses at most about 60 MiB,
// and less for few records; while it merges, 4 MiB for each GiB of records. The result is
// deterministic if no two records compare equal. A Sorter is not safe for concurrent use, and
// must be closed.
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
	free    sync.Pool // *chunk, written to a file
	count   int64
}

// New returns a sorter. It allocates its first chunk with the first record.
func New(ctx context.Context, order Order, limits Limits) *Sorter {
	limits = Limits{Chunk: cmp.Or(limits.Chunk, defaultChunk), Memory: cmp.Or(limits.Memory, defaultMemory)}
	s := &Sorter{order: order, limits: limits}
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
	s.size = s.nextSize()
	if c, ok := s.free.Get().(*chunk); ok && cap(c.records) == s.size {
		return c
	}
	return &chunk{records: make([]byte, 0, s.size), entries: make([]entry, 0, s.size/typicalRecord)}
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
		s.sorting.Go(func() (err error) {
			defer panics.Recover(&err)
			sorted()
			return nil
		})
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
	f, err := os.CreateTemp("", "tally-sort-*")
	if err != nil {
		return explain(err)
	}
	_ = os.Remove(f.Name()) // a killed process leaves no files; where an open file cannot be removed, Close does it
	s.files = append(s.files, f)
	s.sorting.Go(func() (err error) {
		defer panics.Recover(&err)
		c.sorted()
		err = c.write(f)
		c.records, c.entries = c.records[:0], c.entries[:0]
		s.free.Put(c)
		return explain(err)
	})
	return nil
}

// explain adds the purpose of the file, and how to change its folder.
func explain(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("temporary file for sorting (set TMPDIR to change its folder): %w", err)
}

// Sorted returns the records in order. They can be read once; no more can be added.
func (s *Sorter) Sorted() (*Merge, error) {
	if err := s.seal(); err != nil {
		return nil, err
	}
	if err := s.sorting.Wait(); err != nil {
		return nil, err
	}
	m := &Merge{order: s.order}
	for _, c := range s.memory {
		if err := m.push(&head{run: c.read()}); err != nil {
			return nil, err
		}
	}
	s.memory = nil // each run releases its chunk when it has been read
	for _, f := range s.files {
		if err := m.push(&head{run: readFile(f)}); err != nil {
			return nil, err
		}
	}
	return m, nil
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

func (c *chunk) write(f *os.File) error {
	w := bufio.NewWriterSize(f, fileBuffer)
	for _, e := range c.entries {
		n := uint32(binary.LittleEndian.Uint16(c.records[e.at:]))
		if _, err := w.Write(c.records[e.at : e.at+2+n]); err != nil {
			return err
		}
	}
	return w.Flush()
}

func readFile(f *os.File) run {
	r := bufio.NewReaderSize(io.NewSectionReader(f, 0, math.MaxInt64), fileBuffer)
	var record []byte
	return func() ([]byte, error) {
		length, err := r.Peek(2)
		if len(length) == 0 && errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		if err == nil {
			n := int(binary.LittleEndian.Uint16(length))
			record = slices.Grow(record[:0], n+2)[:n+2]
			_, err = io.ReadFull(r, record)
		}
		if err != nil {
			return nil, explain(err)
		}
		return record[2:], nil
	}
}

// run returns the next record of a sorted sequence, or io.EOF. A record is valid until
// the next call.
type run func() ([]byte, error)

// Merge merges sorted runs.
type Merge struct {
	order    Order
	heads    []*head // the runs by their next records, the first one last
	returned bool    // Next has returned the last head's record
}

type head struct {
	key    uint64
	record []byte
	run    run
}

// Next returns the next record, or io.EOF. The record is valid until the next call.
func (m *Merge) Next() ([]byte, error) {
	last := len(m.heads) - 1
	if m.returned {
		first := m.heads[last]
		m.heads = slices.Delete(m.heads, last, last+1)
		if err := m.push(first); err != nil {
			m.heads = append(m.heads, first) // so that another call does not go on without it
			return nil, err
		}
		last = len(m.heads) - 1
	}
	if m.returned = last >= 0; !m.returned {
		return nil, io.EOF
	}
	return m.heads[last].record, nil
}

// push reads the next record of a run, and adds the run at its place unless it has ended.
func (m *Merge) push(h *head) (err error) {
	if h.record, err = h.run(); err != nil {
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	}
	h.key = m.order.Key(h.record)
	at, _ := slices.BinarySearchFunc(m.heads, h, func(a, b *head) int {
		if a.key != b.key {
			return cmp.Compare(b.key, a.key)
		}
		return m.order.Rest(b.record, a.record)
	})
	m.heads = slices.Insert(m.heads, at, h)
	return nil
}
