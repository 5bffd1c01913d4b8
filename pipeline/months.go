package pipeline

import (
	"iter"

	"github.com/opentax/tally/internal/civil"
)

// months counts rows by month.
type months struct {
	first  civil.Month
	counts []int64 // of first and the months after it
}

func (m *months) add(month civil.Month) {
	switch {
	case m.counts == nil:
		m.first, m.counts = month, make([]int64, 1)
	case month < m.first:
		m.counts = append(make([]int64, m.first-month), m.counts...)
		m.first = month
	case int(month-m.first) >= len(m.counts):
		m.counts = append(m.counts, make([]int64, int(month-m.first)-len(m.counts)+1)...)
	}
	m.counts[month-m.first]++
}

// rows counts those of a month.
func (m *months) rows(month civil.Month) int64 { return m.counts[month-m.first] }

// all gives the months that have rows, in order.
func (m *months) all() iter.Seq[civil.Month] {
	return func(yield func(civil.Month) bool) {
		for i, n := range m.counts {
			if n > 0 && !yield(m.first+civil.Month(i)) {
				return
			}
		}
	}
}
