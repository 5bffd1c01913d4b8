package extsort

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

const runBuffer = 32 << 10 // bytes per file

// Merge merges sorted runs. It is a heap of the runs, ordered by their next records.
type Merge struct {
	order    Order
	heads    []head
	returned bool // Next has returned the first head
}

type head struct {
	key    uint64
	record []byte
	run    run
}

// run is a sorted sequence of records. next returns io.EOF at its end; a record is valid
// until the next call.
type run interface {
	next() ([]byte, error)
}

// Next returns the next record, or io.EOF. The record is valid until the next call.
func (m *Merge) Next() ([]byte, error) {
	if m.returned {
		if err := m.advance(); err != nil {
			return nil, err
		}
	}
	if m.returned = len(m.heads) > 0; !m.returned {
		return nil, io.EOF
	}
	return m.heads[0].record, nil
}

func (m *Merge) add(r run) error {
	record, err := r.next()
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return err
	}
	m.heads = append(m.heads, head{m.order.Key(record, 0), record, r})
	for i := len(m.heads) - 1; i > 0; {
		parent := (i - 1) / 2
		if !m.less(i, parent) {
			break
		}
		m.heads[i], m.heads[parent] = m.heads[parent], m.heads[i]
		i = parent
	}
	return nil
}

// advance reads the next record of the first run and restores the heap.
func (m *Merge) advance() error {
	first := &m.heads[0]
	record, err := first.run.next()
	switch {
	case errors.Is(err, io.EOF):
		last := len(m.heads) - 1
		m.heads[0] = m.heads[last]
		m.heads = m.heads[:last]
	case err != nil:
		return err
	default:
		first.key, first.record = m.order.Key(record, 0), record
	}
	for i := 0; ; {
		child := 2*i + 1
		if child >= len(m.heads) {
			return nil
		}
		if child+1 < len(m.heads) && m.less(child+1, child) {
			child++
		}
		if !m.less(child, i) {
			return nil
		}
		m.heads[i], m.heads[child] = m.heads[child], m.heads[i]
		i = child
	}
}

func (m *Merge) less(i, j int) bool {
	a, b := &m.heads[i], &m.heads[j]
	if a.key != b.key {
		return a.key < b.key
	}
	return m.order.Rest(a.record, b.record) < 0
}

// memoryRun is a run in memory.
type memoryRun struct {
	chunk *chunk
	i     int
}

func (r *memoryRun) next() ([]byte, error) {
	if r.chunk == nil || r.i == len(r.chunk.entries) {
		r.chunk = nil
		return nil, io.EOF
	}
	r.i++
	return r.chunk.record(r.chunk.entries[r.i-1].at), nil
}

// runFile is a run on disk. The file is unlinked when it is created, if the system allows
// that, so that a killed process leaves no files.
type runFile struct {
	file   *os.File
	reader *bufio.Reader
	record []byte
}

func newRunFile() (*runFile, error) {
	f, err := os.CreateTemp("", "tally-sort-*")
	if err != nil {
		return nil, explain(err)
	}
	_ = os.Remove(f.Name()) // on systems that cannot remove an open file, close removes it
	return &runFile{file: f}, nil
}

// explain adds the purpose of the file, and how to change its folder.
func explain(err error) error {
	return fmt.Errorf("temporary file for sorting (set TMPDIR to change its folder): %w", err)
}

func (f *runFile) write(c *chunk) error {
	w := bufio.NewWriterSize(f.file, runBuffer)
	for _, e := range c.entries {
		n := uint32(binary.LittleEndian.Uint16(c.records[e.at:]))
		if _, err := w.Write(c.records[e.at : e.at+2+n]); err != nil {
			return explain(err)
		}
	}
	if err := w.Flush(); err != nil {
		return explain(err)
	}
	return nil
}

func (f *runFile) rewind() error {
	if _, err := f.file.Seek(0, io.SeekStart); err != nil {
		return explain(err)
	}
	f.reader = bufio.NewReaderSize(f.file, runBuffer)
	return nil
}

func (f *runFile) next() ([]byte, error) {
	length, err := f.reader.Peek(2)
	if len(length) == 0 && errors.Is(err, io.EOF) {
		return nil, io.EOF
	}
	if err != nil {
		return nil, explain(err)
	}
	n := int(binary.LittleEndian.Uint16(length))
	f.record = slices.Grow(f.record[:0], n+2)[:n+2]
	if _, err := io.ReadFull(f.reader, f.record); err != nil {
		return nil, explain(err)
	}
	return f.record[2:], nil
}

func (f *runFile) close() {
	_ = f.file.Close()           // the data is temporary
	_ = os.Remove(f.file.Name()) // usually already removed
}
