package summaries

import "github.com/opentax/tally/internal/civil"

// monthKey is a user and a month in one number, in the order of user and month.
func monthKey(user int32, m civil.Month) int64 { return int64(user)<<32 | int64(m) }

func splitMonthKey(key int64) (user int32, m civil.Month) { return int32(key >> 32), civil.Month(key) }
