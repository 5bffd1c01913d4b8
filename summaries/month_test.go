package summaries

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const secondsOfDay = 24 * 60 * 60

func (m month) start() time.Time { return time.Unix(int64(m.firstDay())*secondsOfDay, 0).UTC() }

func TestMonths(t *testing.T) {
	t.Parallel()
	for day := time.Date(1899, 12, 30, 0, 0, 0, 0, time.UTC); day.Year() < 2101; day = day.AddDate(0, 0, 1) {
		m := monthOf(int32(day.Unix() / secondsOfDay))
		require.Equal(t, firstOfMonth(day), m.start(), day)
		require.Equal(t, firstOfMonth(day).Unix(), int64(m.firstDay())*secondsOfDay, day)
	}
	last := int64(0)
	for _, user := range []int32{1, 2, 1<<31 - 1} {
		for _, m := range []month{0, 12 * 1900, 12*2024 + 1} {
			key := monthKey(user, m)
			assert.Greater(t, key, last-1)
			last = key
			gotUser, gotMonth := splitMonthKey(key)
			assert.Equal(t, user, gotUser)
			assert.Equal(t, m, gotMonth)
		}
	}
}

// The parts of every range hold each of its days once, and no other day.
func TestPartsOfARange(t *testing.T) {
	t.Parallel()
	start := time.Date(2023, 12, 28, 0, 0, 0, 0, time.UTC)
	const days = 130 // with a leap February
	for i := range days {
		for j := i; j < days; j++ {
			from, to := start.AddDate(0, 0, i), start.AddDate(0, 0, j)
			p := partsOf(from, to)
			for k := range days {
				day, n := start.AddDate(0, 0, k), 0
				for _, s := range []span{p.head, p.tail, {p.months.from, p.months.to.AddDate(0, 1, -1)}} {
					if !day.Before(s.from) && !day.After(s.to) {
						n++
					}
				}
				want := 0
				if k >= i && k <= j {
					want = 1
				}
				require.Equal(t, want, n, "%s in %s to %s: %+v", day, from, to, p)
			}
		}
	}
	assert.True(t, partsOf(time.Time{}, time.Time{}).whole())
	assert.True(t, partsOf(start.AddDate(0, 0, 4), time.Date(2024, 12, 31, 0, 0, 0, 0, time.UTC)).whole())
	assert.False(t, partsOf(time.Time{}, start).whole())
}
