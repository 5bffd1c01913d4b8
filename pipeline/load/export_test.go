package load

import "github.com/opentax/tally/internal/extsort"

// WithLimits is the loader with other sizes of what it sorts.
func (l *Loader) WithLimits(limits extsort.Limits) *Loader {
	other := *l
	other.limits = limits
	return &other
}

// WithBulkFrom is the loader with another number of rows from which indexes are built
// when the rows are there.
func (l *Loader) WithBulkFrom(rows int64) *Loader {
	other := *l
	other.bulkFrom = rows
	return &other
}
