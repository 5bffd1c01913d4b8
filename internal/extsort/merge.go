package extsort

import (
	"errors"
	"io"
)

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

// run returns the next record of a sorted sequence, or io.EOF. A record is valid until
// the next call.
type run func() ([]byte, error)

func merge(order Order, runs []run) (*Merge, error) {
	m := &Merge{order: order}
	for _, r := range runs {
		record, err := r()
		if errors.Is(err, io.EOF) {
			continue
		}
		if err != nil {
			return nil, err
		}
		m.heads = append(m.heads, head{m.order.Key(record), record, r})
	}
	for i := len(m.heads) / 2; i >= 0; i-- {
		m.sink(i)
	}
	return m, nil
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

// advance reads the next record of the first run and restores the heap.
func (m *Merge) advance() error {
	first := &m.heads[0]
	record, err := first.run()
	switch {
	case errors.Is(err, io.EOF):
		last := len(m.heads) - 1
		*first, m.heads[last] = m.heads[last], head{} // release the run
		m.heads = m.heads[:last]
	case err != nil:
		return err
	default:
		first.key, first.record = m.order.Key(record), record
	}
	m.sink(0)
	return nil
}

// sink moves head i down to its place in the heap.
func (m *Merge) sink(i int) {
	for {
		child := 2*i + 1
		if child >= len(m.heads) {
			return
		}
		if child+1 < len(m.heads) && m.less(child+1, child) {
			child++
		}
		if !m.less(child, i) {
			return
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
