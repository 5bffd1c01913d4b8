package replica

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// MinBound is the smallest bound: a few looks at the primary fit into it.
	MinBound = time.Second
	// keepMarks is how far back a replica's lag is known.
	keepMarks = 10 * time.Minute
	// quiet is the time without a failed request after which a server is logged as available.
	quiet = 10 * time.Second
)

// Config configures a Set. Primary is required.
type Config struct {
	Primary  *Server       // of the database URL
	Replicas []*Server     // as they are named; one of them may be the primary
	Bound    time.Duration // an answer is never older; at least MinBound
	Logger   *slog.Logger  // of servers that are lost and return; nil discards that
}

// Set is the servers of one database. It is safe for concurrent use.
type Set struct {
	Config
	servers []*Server // the replicas, then the primary
	turn    atomic.Uint64

	mu    sync.Mutex
	floor int64  // no answer may be older
	marks []mark // of the primary, oldest first, each position once
	stop  context.CancelFunc
	looks sync.WaitGroup

	answers, passed [2]atomic.Int64 // of the primary, and of replicas
	refused         atomic.Int64
}

// mark is the position of the primary's WAL at a moment.
type mark struct {
	at       time.Time
	position int64
}

// NewSet makes a set, and looks at each server once. Close it before the pools.
func NewSet(ctx context.Context, c Config) (*Set, error) {
	if c.Primary == nil {
		return nil, errors.New("replica: Config.Primary is missing")
	}
	if c.Bound < MinBound {
		return nil, errors.New("replica: Config.Bound is too small")
	}
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	s := &Set{Config: c, servers: append(c.Replicas[:len(c.Replicas):len(c.Replicas)], c.Primary)}
	looking, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.observe(looking, c.Primary)
	for _, server := range s.servers {
		server.wake = make(chan struct{}, 1)
		s.looks.Go(func() { s.watch(looking, server) })
	}
	return s, nil
}

// Close ends the looks.
func (s *Set) Close() {
	s.stop()
	s.looks.Wait()
}

func (s *Set) watch(ctx context.Context, server *Server) {
	defer server.disconnect(ctx)
	for {
		s.observe(ctx, server)
		pause := lookEvery
		if known, ok := server.known(); ok && known.epoch < s.minimum() {
			pause = lookBehind
		}
		select {
		case <-ctx.Done():
			return
		case <-server.wake:
		case <-time.After(pause):
		}
	}
}

// observe looks at a server.
func (s *Set) observe(ctx context.Context, server *Server) {
	floor := s.minimum()
	now := server.look(ctx)
	if ctx.Err() != nil {
		return
	}
	last := server.status.Load()
	if now.err == nil {
		now.asOf = s.asOf(now)
	} else if last != nil {
		now = *last.failing(now.err)
	}
	server.status.Store(&now)
	s.report(ctx, server, last, now)
	if now.err == nil && !now.replica && !s.superseded(server, now) {
		s.raise(ctx, now, floor)
	}
}

// report logs what has changed since the last look. A server may refuse the connections of
// requests while it answers looks, so it is available once no request has failed for a while.
func (s *Set) report(ctx context.Context, server *Server, last *status, now status) {
	switch {
	case now.err != nil:
		s.logLost(ctx, server, now.err)
		return
	case time.Since(time.Unix(0, server.failed.Load())) >= quiet && server.lost.Swap(false):
		s.Logger.InfoContext(ctx, "database server is available for reads", "server", server.Name, "replica", now.replica)
	}
	if last != nil && last.replica && !now.replica {
		s.Logger.InfoContext(ctx, "replica was promoted", "server", server.Name)
	}
}

// logLost logs the error that makes a server unavailable, and not those that follow.
func (s *Set) logLost(ctx context.Context, server *Server, err error) {
	if !server.lost.Swap(true) {
		s.Logger.WarnContext(ctx, "database server is unavailable for reads", "server", server.Name, "error", err)
	}
}

// superseded reports whether another server is a later primary, of a later timeline or with more
// commits: then this one is a former primary, or a copy. One that fails counts until the bound has
// passed since it was seen, so that no former primary takes its place meanwhile.
func (s *Set) superseded(server *Server, now status) bool {
	return slices.ContainsFunc(s.servers, func(other *Server) bool {
		last := other.status.Load()
		if other == server || last == nil || last.replica || last.err != nil && time.Since(last.began) > s.Bound {
			return false
		}
		return cmp.Or(cmp.Compare(last.timeline, now.timeline), cmp.Compare(last.epoch, now.epoch)) > 0
	})
}

// raise notes what a look at the primary has seen. A look that began after a commit was
// announced, and does not see it, is at a new primary, which has lost the commit.
func (s *Set) raise(ctx context.Context, now status, floor int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.epoch < floor {
		s.Logger.WarnContext(ctx, "the primary was replaced by a server that lacks commits", "epoch", now.epoch, "lost", floor-now.epoch)
		s.floor = now.epoch
	}
	s.floor = max(s.floor, now.epoch)
	oldest := now.began.Add(-max(s.Bound, keepMarks))
	for len(s.marks) > 1 && s.marks[1].at.Before(oldest) {
		s.marks = s.marks[1:]
	}
	switch n := len(s.marks); {
	case n > 0 && now.position < s.marks[n-1].position: // of a new timeline
		s.marks = nil
	case n > 0 && now.position == s.marks[n-1].position:
		s.marks = s.marks[:n-1]
	}
	s.marks = append(s.marks, mark{now.began, now.position})
}

// Announced notes that a commit was announced: no later answer lacks it.
func (s *Set) Announced(epoch int64) {
	s.mu.Lock()
	s.floor = max(s.floor, epoch)
	s.mu.Unlock()
	for _, server := range s.servers {
		select {
		case server.wake <- struct{}{}:
		default:
		}
	}
}

func (s *Set) minimum() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.floor
}

// asOf is a moment before which a server lacks no commit; zero if it is not known.
func (s *Set) asOf(now status) time.Time {
	if !now.replica {
		return now.began
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range slices.Backward(s.marks) {
		if m.position <= now.position {
			return m.at
		}
	}
	return time.Time{}
}

// HasPrimary reports whether a primary answered the last look.
func (s *Set) HasPrimary() bool {
	return slices.ContainsFunc(s.servers, func(server *Server) bool {
		known, ok := server.known()
		return ok && !known.replica
	})
}

// State is what is known of a server.
type State struct {
	Name      string
	Replica   bool
	Available bool
	Epoch     int64
	Lag       time.Duration // a replica lacks no commit that is older, as far as is known; 0 for a primary
	Behind    bool          // by more than the bound
}

// States are those of all servers: the named replicas, then the primary.
func (s *Set) States() (list []State) {
	for _, server := range s.servers {
		known, ok := server.known()
		state := State{Name: server.Name, Available: ok, Replica: ok && known.replica, Epoch: known.epoch}
		if state.Replica {
			state.Lag = min(time.Since(known.asOf), max(s.Bound, keepMarks))
			state.Behind = state.Lag > s.Bound
		}
		list = append(list, state)
	}
	return list
}

// Counts are answers since the start.
type Counts struct {
	Primary, Replica             int64 // answers, by who gave them
	PassedPrimary, PassedReplica int64 // servers that failed or were too old
	Refused                      int64 // requests that no server could answer in time
}

// Counts counts since the start.
func (s *Set) Counts() Counts {
	return Counts{
		Primary: s.answers[0].Load(), Replica: s.answers[1].Load(),
		PassedPrimary: s.passed[0].Load(), PassedReplica: s.passed[1].Load(), Refused: s.refused.Load(),
	}
}
