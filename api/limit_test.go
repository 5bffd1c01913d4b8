package api

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRateLimit(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	l := newLimiter(RateLimit{PerSecond: 2, Burst: 3})
	l.now = func() time.Time { return now }
	a, b := client{token: 1}, client{token: 2}
	for range 3 {
		assert.Zero(t, l.wait(a))
	}
	assert.Equal(t, 500*time.Millisecond, l.wait(a))
	assert.Equal(t, 500*time.Millisecond, l.wait(a), "a refused request costs nothing")
	assert.Zero(t, l.wait(b), "each has its own")
	now = now.Add(499 * time.Millisecond)
	assert.Equal(t, time.Millisecond, l.wait(a))
	now = now.Add(time.Millisecond)
	assert.Zero(t, l.wait(a))
	now = now.Add(-time.Second) // another request's clock was ahead
	assert.Positive(t, l.wait(a))
}

func TestRateLimitDefaults(t *testing.T) {
	t.Parallel()
	assert.Equal(t, RateLimit{1000, 2000}, RateLimit{}.withDefaults())
	assert.Equal(t, RateLimit{5, 10}, RateLimit{PerSecond: 5}.withDefaults())
	assert.Equal(t, RateLimit{0.1, 1}, RateLimit{PerSecond: 0.1}.withDefaults())
	for _, wrong := range []RateLimit{{PerSecond: -1}, {PerSecond: 1, Burst: -1}, {Burst: 1}} {
		require.Error(t, wrong.Check())
	}
	require.NoError(t, RateLimit{}.Check())
	require.NoError(t, RateLimit{PerSecond: 1, Burst: 1}.Check())
}

// However many clients there are, what is held is bounded; and one who keeps
// coming back is not forgotten for the others.
func TestRateLimitForgetsClients(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	l := newLimiter(RateLimit{PerSecond: 0.001, Burst: 2})
	l.now = func() time.Time { return now }
	busy := client{token: -1}
	require.Zero(t, l.wait(busy))
	require.Zero(t, l.wait(busy))
	for i := range 5 * maxClients {
		l.wait(client{token: int64(i + 1)})
		if i%1000 == 0 {
			require.Positive(t, l.wait(busy), i)
		}
		require.LessOrEqual(t, len(l.recent)+len(l.previous), 2*maxClients)
	}
}

func TestNetwork(t *testing.T) {
	t.Parallel()
	for remote, want := range map[string]string{
		"192.0.2.7:1234":         "192.0.2.7/32",
		"[::ffff:192.0.2.7]:1":   "192.0.2.7/32",
		"[2001:db8:1:2:3::4]:1":  "2001:db8:1:2::/64",
		"[fe80::1%eth0]:1":       "fe80::/64",
		"[2001:db8:1:2:ff::]:99": "2001:db8:1:2::/64",
	} {
		assert.Equal(t, want, network(remote).String(), remote)
	}
	for _, remote := range []string{"", "@", "pipe", "192.0.2.7"} {
		assert.Equal(t, netip.Prefix{}, network(remote))
	}
	for remote, want := range map[string]bool{"127.0.0.1:1": true, "[::1]:1": true, "[::ffff:127.0.0.9]:1": true, "192.0.2.1:1": false, "[2001:db8::1]:1": false, "": false} {
		assert.Equal(t, want, loopback(remote), remote)
	}
}
