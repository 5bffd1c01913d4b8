package summaries

import "github.com/opentax/tally/internal/civil"

// month counts the months from the year 0 on.
type month int32

// monthOf is the month of a day that is counted from 1970-01-01.
func monthOf(day int32) month {
	m, _ := civil.Month(day)
	return month(m)
}

// firstDay is the month's first day, counted from 1970-01-01.
func (m month) firstDay() int32 { return civil.FirstDay(int(m)) }

// monthKey is a user and a month in one number, in the order of user and month.
func monthKey(user int32, m month) int64 { return int64(user)<<32 | int64(m) }

func splitMonthKey(key int64) (user int32, m month) { return int32(key >> 32), month(int32(key)) }
