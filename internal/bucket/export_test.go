package bucket

import "time"

// WithSilence are stores that wait for an answer only so long.
func WithSilence(d time.Duration) *Stores { return &Stores{silence: d} }
