package api

import (
	"errors"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	defaultPerSecond = 1000
	defaultBurst     = 2000
	// maxClients bounds how many clients' rates are held: this many that were
	// there lately, and as many before them.
	maxClients = 8192
)

// RateLimit is how many requests a token may make, or an address where there is no
// token. The zero value is 1000 a second, 2000 at once.
type RateLimit struct {
	PerSecond float64 `yaml:"per_second"` // in the long run
	Burst     int     `yaml:"burst"`      // at once; 0 is twice PerSecond
}

// Check names the field that is wrong.
func (l RateLimit) Check() error {
	switch {
	case l.PerSecond < 0:
		return errors.New("per_second is negative")
	case l.Burst < 0:
		return errors.New("burst is negative")
	case l.PerSecond == 0 && l.Burst > 0:
		return errors.New("per_second is missing")
	}
	return nil
}

func (l RateLimit) withDefaults() RateLimit {
	if l.PerSecond == 0 {
		return RateLimit{PerSecond: defaultPerSecond, Burst: defaultBurst}
	}
	if l.Burst == 0 {
		l.Burst = max(1, int(2*l.PerSecond))
	}
	return l
}

// client is whose requests are counted together: a token, or else a network.
type client struct {
	token   int64
	network netip.Prefix
}

// network is the address that a request comes from; of IPv6 the /64, which one
// customer of a provider has all of.
func network(remote string) netip.Prefix {
	from, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{} // all of these together
	}
	address := from.Addr().Unmap().WithZone("")
	bits := 32
	if address.Is6() {
		bits = 64
	}
	prefix, _ := address.Prefix(bits) // never fails with these
	return prefix
}

func loopback(remote string) bool {
	from, err := netip.ParseAddrPort(remote)
	return err == nil && from.Addr().Unmap().IsLoopback()
}

// limiter holds the rates of clients in bounded memory: a client who has not been
// there while maxClients others were is forgotten, and starts anew.
type limiter struct {
	limit RateLimit
	now   func() time.Time

	mu               sync.Mutex
	recent, previous map[client]*rate.Limiter
}

func newLimiter(limit RateLimit) *limiter {
	return &limiter{limit: limit.withDefaults(), now: time.Now, recent: map[client]*rate.Limiter{}}
}

// wait is how long a client has to wait before its next request; 0 where it may
// make one now, which is then counted.
func (l *limiter) wait(c client) time.Duration {
	now, bucket := l.now(), l.bucket(c)
	if bucket.AllowN(now, 1) {
		return 0
	}
	// The clock of another request may have been ahead: never less than a moment.
	missing := 1 - bucket.TokensAt(now)
	return max(time.Duration(missing/l.limit.PerSecond*float64(time.Second)), time.Millisecond)
}

func (l *limiter) bucket(c client) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if bucket, ok := l.recent[c]; ok {
		return bucket
	}
	bucket, ok := l.previous[c]
	if !ok {
		bucket = rate.NewLimiter(rate.Limit(l.limit.PerSecond), l.limit.Burst)
	}
	if len(l.recent) >= maxClients {
		l.recent, l.previous = make(map[client]*rate.Limiter), l.recent
	}
	l.recent[c] = bucket
	return bucket
}
