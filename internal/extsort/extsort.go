// Package extsort sorts more records than memory holds. Records are short byte
// strings; they lie one behind another in a few large blocks, so that sorting a
// million of them allocates next to nothing.
package extsort

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"
)

// Order is the order of a sorter's records.
type Order struct {
	// Key is the first eight bytes of what is compared, so that most comparisons
	// are of two numbers. Where Start is set, it leaves the first skip bytes of it
	// out.
	Key func(record []byte, skip int) uint64
	// Rest compares records whose keys are equal.
	Rest func(a, b []byte) int
	// Start is the part of a record that comes first in the order, and whose first
	// bytes may be the same in all of them; nil: there is none.
	Start func(record []byte) []byte
}

const (
	firstChunk  = 256 << 10 // bytes of records that are sorted at once, at first
	usualChunk  = 4 << 20   // and usually, see Limits: each chunk is twice as large as the one before
	lastChunk   = 64 << 20  // and at most, where there are very many
	manyFiles   = 128       // after which chunks become larger, so that files do not become too many
	usualMemory = 40 << 20  // bytes of records that stay in memory, see Limits
	usualRecord = 40        // bytes, for a start
	maxSorting  = 4         // chunks that are sorted at once, whatever the cores
	maxRecord   = 1<<16 - 1
)

// Limits are the sizes of a sorter's parts; zero means the usual. They do not show in
// the result.
type Limits struct {
	Chunk  int // bytes of records that are sorted at once; 4 MiB
	Memory int // bytes of records that stay in memory; if there are more, all go to disk; 40 MiB
}

// Sorter sorts records chunk by chunk while more are added, writes the chunks to
// temporary files if they are more than some memory holds, and merges them: about
// 60 MiB at most, however many records there are, and little for few. Which chunk a record was in does not show in the result,
// as long as no two records are equal to the order. It is for one goroutine, and
// is to be closed.
type Sorter struct {
	order   Order
	limits  Limits
	ctx     context.Context // ends the sorting
	filling *chunk
	sorting *errgroup.Group
	size    int      // of the last chunk that was made
	memory  []*chunk // sorted, or being so
	held    int      // bytes of memory's records
	files   []*runFile
	free    chan *chunk
	count   int64
}

// New makes a sorter; nothing is allocated before the first record.
func New(ctx context.Context, order Order, limits Limits) *Sorter {
	if limits.Chunk == 0 {
		limits.Chunk = usualChunk
	}
	if limits.Memory == 0 {
		limits.Memory = usualMemory
	}
	s := &Sorter{order: order, limits: limits, free: make(chan *chunk, maxSorting)}
	s.sorting, s.ctx = errgroup.WithContext(ctx)
	s.sorting.SetLimit(min(runtime.GOMAXPROCS(0), maxSorting))
	return s
}

// Len counts the records added.
func (s *Sorter) Len() int64 { return s.count }

// Add takes a copy of a record of at most 65535 bytes. Its errors are those of a
// temporary file, or the context's.
func (s *Sorter) Add(record []byte) error {
	if len(record) > maxRecord {
		return fmt.Errorf("sort: a record of %d bytes, want at most %d", len(record), maxRecord)
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
	if size := s.nextSize(); size != s.size { // those that are free have the size of before
		s.size, s.free = size, make(chan *chunk, maxSorting)
	}
	select {
	case c := <-s.free:
		return c
	default:
		return &chunk{records: make([]byte, 0, s.size), entries: make([]entry, 0, s.size/usualRecord)}
	}
}

func (s *Sorter) nextSize() int {
	if s.size < s.limits.Chunk {
		return min(max(2*s.size, firstChunk), s.limits.Chunk)
	}
	return min(s.limits.Chunk<<(len(s.files)/manyFiles), lastChunk)
}

// seal hands the chunk that is filling over to be sorted.
func (s *Sorter) seal() error {
	if s.filling == nil {
		return context.Cause(s.ctx)
	}
	c := s.filling
	s.filling = nil
	s.memory = append(s.memory, c)
	s.held += cap(c.records)
	if s.held <= s.limits.Memory && len(s.files) == 0 {
		sorted := make(chan struct{})
		c.sorted = sorted
		s.sorting.Go(func() error {
			defer close(sorted)
			c.sort(s.order)
			return nil
		})
		return context.Cause(s.ctx)
	}
	// All of them go: the more records there are, the less is in memory.
	for _, c := range s.memory {
		if err := s.spill(c); err != nil {
			return err
		}
	}
	s.memory, s.held = nil, 0
	return context.Cause(s.ctx)
}

func (s *Sorter) spill(c *chunk) error {
	f, err := newRunFile()
	if err != nil {
		return err
	}
	s.files = append(s.files, f)
	free, size := s.free, s.size
	s.sorting.Go(func() error {
		if c.sorted != nil {
			<-c.sorted
		} else {
			c.sort(s.order)
		}
		err := f.write(c)
		if cap(c.records) == size { // nobody else is at it any more, so that it can be filled again
			c.records, c.entries, c.sorted = c.records[:0], c.entries[:0], nil
			select {
			case free <- c:
			default:
			}
		}
		return err
	})
	return nil
}

// Sorted ends the adding, and gives the records in order. They can be read once.
func (s *Sorter) Sorted() (*Merge, error) {
	if err := s.seal(); err != nil {
		return nil, err
	}
	if err := s.sorting.Wait(); err != nil {
		return nil, err
	}
	s.free = nil
	m := &Merge{order: s.order}
	for _, c := range s.memory {
		if err := m.add(&memoryRun{chunk: c}); err != nil {
			return nil, err
		}
	}
	s.memory = nil // a run lets go of its chunk when it has been read
	for _, f := range s.files {
		if err := f.rewind(); err != nil {
			return nil, err
		}
		if err := m.add(f); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Close gives memory and files back, also in the middle of the work.
func (s *Sorter) Close() {
	_ = s.sorting.Wait() // Sorted has told the error, or nobody asked
	for _, f := range s.files {
		f.close()
	}
	s.memory, s.files, s.filling = nil, nil, nil
}

// chunk is what is sorted at once.
type chunk struct {
	records []byte // each after its length in two bytes
	entries []entry
	sorted  <-chan struct{} // closed when the sorting that was begun in memory has ended; nil if none was
}

type entry struct {
	key uint64
	at  uint32 // where the record's length is
}

func (c *chunk) record(at uint32) []byte {
	n := uint32(binary.LittleEndian.Uint16(c.records[at:]))
	return c.records[at+2 : at+2+n : at+2+n]
}

func (c *chunk) sort(order Order) {
	skip := c.shared(order)
	for i, e := range c.entries {
		c.entries[i].key = order.Key(c.record(e.at), skip)
	}
	slices.SortFunc(c.entries, func(a, b entry) int {
		if a.key != b.key {
			return cmp.Compare(a.key, b.key)
		}
		return order.Rest(c.record(a.at), c.record(b.at))
	})
}

// shared is the number of bytes with which all records start.
func (c *chunk) shared(order Order) int {
	if order.Start == nil || len(c.entries) == 0 {
		return 0
	}
	first := order.Start(c.record(c.entries[0].at))
	for _, e := range c.entries {
		other := order.Start(c.record(e.at))
		first = first[:min(len(first), len(other))]
		for !bytes.Equal(first, other[:len(first)]) {
			first = first[:len(first)-1]
		}
	}
	return len(first)
}
