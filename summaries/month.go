package summaries

import "time"

const secondsOfDay = 24 * 60 * 60

// month counts the months from the year 0 on.
type month int32

// monthOf is the month of a day that is counted from 1970-01-01.
func monthOf(day int32) month {
	y, m, _ := time.Unix(int64(day)*secondsOfDay, 0).UTC().Date()
	return month(12*y + int(m) - 1)
}

// firstDay is the month's first day, counted from 1970-01-01.
func (m month) firstDay() int32 { return int32(m.start().Unix() / secondsOfDay) }

func (m month) start() time.Time {
	return time.Date(int(m)/12, time.Month(int(m)%12+1), 1, 0, 0, 0, 0, time.UTC)
}

// monthKey is a user and a month in one number, in the order of user and month.
func monthKey(user int32, m month) int64 { return int64(user)<<32 | int64(m) }

func splitMonthKey(key int64) (user int32, m month) { return int32(key >> 32), month(int32(key)) }
