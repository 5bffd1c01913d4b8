package pipeline

import (
	"iter"

	"github.com/opentax/tally/internal/civil"
)

// months counts rows by month; months are counted from year 0.
type months struct {
	first  int
	counts []int64 // of first and the months after it
}

func (m *months) add(month int) {
	switch {
	case m.counts == nil:
		m.first, m.counts = month, make([]int64, 1)
	case month < m.first:
		m.counts = append(make([]int64, m.first-month), m.counts...)
		m.first = month
	case month >= m.first+len(m.counts):
		m.counts = append(m.counts, make([]int64, month-m.first-len(m.counts)+1)...)
	}
	m.counts[month-m.first]++
}

// rows counts those of a month.
func (m *months) rows(month int) int64 { return m.counts[month-m.first] }

// all gives the months that have rows, in order.
func (m *months) all() iter.Seq[int] {
	return func(yield func(int) bool) {
		for i, n := range m.counts {
			if n > 0 && !yield(m.first+i) {
				return
			}
		}
	}
}

// month counts months from year 0, and gives the day of the month.
func (d Date) month() (month, day int) { return civil.Month(int32(d)) }

// firstOf is the first day of a month.
func firstOf(month int) Date { return Date(civil.FirstDay(month)) }
