package civil_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/civil"
)

// Every day of 2,400 years, against package time.
func TestEveryDay(t *testing.T) {
	t.Parallel()
	for at := time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC); at.Year() <= 2400; at = at.AddDate(0, 0, 1) {
		y, m, d := at.Date()
		days := civil.Day(y, int(m), d)
		require.Equal(t, at.Unix()/86400, int64(days), at)
		month, day := civil.Month(days)
		require.Equal(t, [2]int{12*y + int(m) - 1, d}, [2]int{month, day}, at)
		if d == 1 {
			require.Equal(t, days, civil.FirstDay(month), at)
			require.Equal(t, time.Date(y, 2, 29, 0, 0, 0, 0, time.UTC).Day() == 29, civil.Leap(y), at)
		}
	}
}
