package summaries

import (
	"testing"

	"github.com/opentax/tally/internal/civil"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The parts of every range hold each of its days once, and no other day.
func TestSplitRange(t *testing.T) {
	t.Parallel()
	start, ok := civil.New(2023, 12, 28)
	require.True(t, ok)
	const days = 130 // with a leap February
	for from := start; from < start+days; from++ {
		for to := from; to < start+days; to++ {
			p := Days{from, to}.split()
			for day := start; day < start+days; day++ {
				n := 0
				for _, s := range []Days{p.head, p.tail, {p.months.From, p.months.To.Month().Last()}} {
					if day >= s.From && day <= s.To {
						n++
					}
				}
				want := 0
				if day >= from && day <= to {
					want = 1
				}
				require.Equal(t, want, n, "%s in %s to %s: %+v", day, from, to, p)
			}
		}
	}
	end, ok := civil.New(2024, 12, 31)
	require.True(t, ok)
	assert.True(t, AllDays().split().whole())
	assert.True(t, Days{start + 4, end}.split().whole())
	assert.False(t, Days{civil.Min, start}.split().whole())
}
