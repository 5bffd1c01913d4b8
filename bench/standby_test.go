package bench

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/internal/postgres"
)

// catchUpTimeout bounds the wait for a replica.
const catchUpTimeout = 5 * time.Minute

// standby is a streaming replica of a server.
type standby struct {
	server  *server
	primary *pgxpool.Pool // for the server's first database
	replica *pgxpool.Pool // for the replica of that database
	url     string
}

func newStandby(b *testing.B, s *server) *standby {
	b.Helper()
	r := &standby{server: s, url: s.Standby().URL()}
	r.primary, r.replica = openURL(b, s.URL()), openURL(b, r.url)
	return r
}

func openURL(b *testing.B, location string) *pgxpool.Pool {
	b.Helper()
	pool, err := postgres.Open(b.Context(), postgres.Config{URL: location})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(pool.Close)
	return pool
}

// database opens the replica of a database.
func (r *standby) database(b *testing.B, pool *pgxpool.Pool) *pgxpool.Pool {
	b.Helper()
	r.catchUp(b)
	u, err := url.Parse(r.url)
	if err != nil {
		b.Fatal(err)
	}
	u.Path = "/" + pool.Config().ConnConfig.Database
	return openURL(b, u.String())
}

// catchUp waits until the replica has replayed all WAL of the primary, and returns how
// long that took.
func (r *standby) catchUp(b *testing.B) time.Duration {
	b.Helper()
	began := time.Now()
	var target string
	if err := r.primary.QueryRow(b.Context(), "SELECT pg_current_wal_flush_lsn()::text").Scan(&target); err != nil {
		b.Fatal(err)
	}
	r.until(b, r.replica, "SELECT pg_last_wal_replay_lsn() >= '"+target+"'::pg_lsn")
	return time.Since(began)
}

// until waits until a query returns true.
func (r *standby) until(b *testing.B, pool *pgxpool.Pool, query string) {
	b.Helper()
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		var done bool
		if err := pool.QueryRow(b.Context(), query).Scan(&done); err != nil {
			b.Fatal(err)
		}
		if done {
			return
		}
		if time.Since(began) > catchUpTimeout {
			b.Fatalf("timeout while waiting for: %s", query)
		}
	}
}

// alterSystem changes settings with ALTER SYSTEM and reloads them.
func alterSystem(b *testing.B, pool *pgxpool.Pool, settings ...string) {
	b.Helper()
	for _, s := range settings {
		if _, err := pool.Exec(b.Context(), "ALTER SYSTEM SET "+s); err != nil {
			b.Fatal(err)
		}
	}
	exec(b, pool, "SELECT pg_reload_conf()")
}

// lag samples the replication lag.
type lag struct {
	done    chan struct{}
	sampler sync.WaitGroup
	err     error

	written []walMark // WAL positions of the primary over time

	mu            sync.Mutex
	last, longest time.Duration
}

type walMark struct {
	at       time.Time
	position int64
}

// trackLag samples the WAL positions of both servers every 3 ms.
func (r *standby) trackLag(ctx context.Context) *lag {
	l := &lag{done: make(chan struct{})}
	l.sampler.Go(func() {
		for l.err == nil {
			l.err = l.sample(ctx, r)
			select {
			case <-l.done:
				return
			case <-time.After(3 * time.Millisecond):
			}
		}
	})
	return l
}

func (l *lag) sample(ctx context.Context, r *standby) error {
	var mark walMark
	if err := r.primary.QueryRow(ctx, "SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint").Scan(&mark.position); err != nil {
		return fmt.Errorf("WAL position of the primary: %w", err)
	}
	mark.at = time.Now()
	l.written = append(l.written, mark)
	var replayed int64
	if err := r.replica.QueryRow(ctx, "SELECT (pg_last_wal_replay_lsn() - '0/0')::bigint").Scan(&replayed); err != nil {
		return fmt.Errorf("WAL position of the replica: %w", err)
	}
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = 0
	// The first position that the replica has not replayed.
	if i, _ := slices.BinarySearchFunc(l.written, replayed+1, func(m walMark, p int64) int { return int(m.position - p) }); i < len(l.written) {
		l.last = now.Sub(l.written[i].at)
	}
	l.longest = max(l.longest, l.last)
	return nil
}

// now returns the latest lag.
func (l *lag) now() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// stop stops sampling.
func (l *lag) stop(b *testing.B) {
	b.Helper()
	close(l.done)
	l.sampler.Wait()
	if l.err != nil {
		b.Fatal(l.err)
	}
}
