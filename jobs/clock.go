package jobs

import "time"

// Clock tells the schedule the time. Tests put their own in its place; timeouts
// and leases of River and of the run locks keep real time.
type Clock interface {
	Now() time.Time
	// After sends once d has gone by.
	After(d time.Duration) <-chan time.Time
}

type wallClock struct{}

func (wallClock) Now() time.Time                         { return time.Now() }
func (wallClock) After(d time.Duration) <-chan time.Time { return time.After(d) }
