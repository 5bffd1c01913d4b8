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
	maxClients       = 8192 // in each of a limiter's two generations
)

// RateLimit is the number of requests per token, or per address without token. The zero value
// is 1000 a second with bursts of 2000.
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

// client is the unit of rate limiting: a token, or else a network.
type client struct {
	token   int64
	network netip.Prefix
}

// network is the address of a request; of IPv6 the /64, all of which one customer of a provider
// has. Addresses that cannot be parsed share one.
func network(remote string) netip.Prefix {
	from, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	address := from.Addr().Unmap().WithZone("")
	prefix, _ := address.Prefix(min(address.BitLen(), 64)) // never fails with these
	return prefix
}

func loopback(remote string) bool {
	from, err := netip.ParseAddrPort(remote)
	return err == nil && from.Addr().Unmap().IsLoopback()
}

// limiter limits clients in bounded memory: a client without requests while maxClients others
// have some is forgotten, and starts with a full bucket.
type limiter struct {
	limit RateLimit
	now   func() time.Time

	mu               sync.Mutex
	recent, previous map[client]*rate.Limiter
}

func newLimiter(limit RateLimit) *limiter {
	return &limiter{limit: limit.withDefaults(), now: time.Now, recent: map[client]*rate.Limiter{}}
}

// wait counts a request and returns 0, or returns the time until the next one is allowed.
func (l *limiter) wait(c client) time.Duration {
	now, bucket := l.now(), l.bucket(c)
	if bucket.AllowN(now, 1) {
		return 0
	}
	// The clock of a concurrent request may have been ahead: never 0.
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
