package api

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/opentax/tally/internal/panics"
)

// lookAge is the longest that the result of a look at the database is served.
const lookAge = time.Second

var errSlowLook = errors.New("the database does not answer in time")

// look reads the database for all probes together: at most once a second, and never twice at a
// time. Callers share the read in flight, and its result for a second, the error too.
type look[T any] struct {
	read func(ctx context.Context) (T, error)
	// limit bounds a read, and the wait for it from its start: while a read hangs, callers get
	// errSlowLook, the later ones at once.
	limit time.Duration

	mu   sync.Mutex
	last *sight[T]
}

// sight is one read. The fields after ended are written before it is closed.
type sight[T any] struct {
	began time.Time
	ended chan struct{}
	value T
	err   error
}

func (l *look[T]) get(ctx context.Context) (none T, _ error) {
	now := time.Now()
	s := l.current(now)
	wait := time.NewTimer(l.limit - now.Sub(s.began))
	defer wait.Stop()
	select {
	case <-s.ended:
		return s.value, s.err
	case <-wait.C:
		return none, errSlowLook
	case <-ctx.Done():
		return none, fmt.Errorf("await a look at the database: %w", ctx.Err())
	}
}

// current is the read in flight or the recent one; if there is none, it starts one.
func (l *look[T]) current(now time.Time) *sight[T] {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last != nil {
		select {
		case <-l.last.ended:
			if now.Sub(l.last.began) < lookAge {
				return l.last
			}
		default:
			return l.last
		}
	}
	l.last = &sight[T]{began: now, ended: make(chan struct{})}
	go l.run(l.last)
	return l.last
}

// run belongs to no caller: the first one may leave.
func (l *look[T]) run(s *sight[T]) {
	ctx, cancel := context.WithTimeout(context.Background(), l.limit)
	defer cancel()
	defer close(s.ended)
	defer panics.Recover(&s.err)
	s.value, s.err = l.read(ctx)
}
