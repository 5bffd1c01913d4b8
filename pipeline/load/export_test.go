package load

import "github.com/opentax/tally/internal/extsort"

// WithLimits is the loader with other sizes of what it sorts.
func (l *Loader) WithLimits(limits extsort.Limits) *Loader {
	other := *l
	other.limits = limits
	return &other
}
