package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opentax/tally/internal/postgres"
)

const (
	// patience bounds the wait for a server that has the commit that is asked for.
	patience   = 2 * time.Second
	firstRetry = 10 * time.Millisecond
	// sameEpoch bounds how often an answer is read again because a commit came in between.
	sameEpoch = 3
)

// StaleError reports that no server could give an answer that is new enough in time.
type StaleError struct {
	MinEpoch int64
	Cause    error // of the last server that was asked; nil if none was
}

func (e *StaleError) Error() string {
	text := fmt.Sprintf("no server has epoch %d within the bound", e.MinEpoch)
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text
}

func (e *StaleError) Unwrap() error { return e.Cause }

// errOld is why an answer was passed over.
var errOld = errors.New("the answer is too old")

// First is who is asked first.
type First bool

// Replicas are asked first for data, whose answers the epoch makes comparable; the primary is
// asked first for records that it does not count.
const (
	ReplicasFirst First = false
	PrimaryFirst  First = true
)

// Read has a server answer, and reads its epoch around that. If a commit came in between, it
// asks again; of an answer that has met commits each time it records the epoch before.
func (s *Set) Read(ctx context.Context, first First, ask func(context.Context, *Server) error) error {
	return s.Answer(ctx, first, func(ctx context.Context, server *Server) (epoch int64, err error) {
		if epoch, err = server.epoch(ctx); err != nil {
			return 0, err
		}
		for i := 0; ; i++ {
			if err = ask(ctx, server); passing(err) {
				return 0, err
			}
			after, failed := server.epoch(ctx)
			if failed != nil {
				return 0, failed
			}
			if after == epoch || i == sameEpoch {
				return epoch, err
			}
			epoch = after
		}
	})
}

// Answer asks servers, one after the other, until one gives an answer that is new enough, and
// records its source. An error that is not about the server is an answer, too.
func (s *Set) Answer(ctx context.Context, first First, ask func(context.Context, *Server) (epoch int64, err error)) error {
	floor, stale := s.minimum(), &StaleError{}
	deadline, pause := time.Now().Add(patience), firstRetry
	for {
		minEpoch := max(min(floor, s.minimum()), MinEpoch(ctx)) // a new primary may lack commits
		stale.MinEpoch = minEpoch
		for _, server := range s.candidates(first, minEpoch) {
			if done, err := s.try(ctx, server, minEpoch, ask); done {
				return err
			} else if stale.Cause = err; ctx.Err() != nil {
				return fmt.Errorf("read from %s: %w", server.Name, errors.Join(ctx.Err(), err))
			}
		}
		if time.Now().Add(pause).After(deadline) {
			s.refused.Add(1)
			return stale
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for a server: %w", errors.Join(ctx.Err(), stale))
		case <-time.After(pause):
			pause = min(2*pause, lookEvery)
		}
	}
}

// Changed records the primary's epoch after a change, which includes it. If the primary cannot
// be read, it records nothing.
func (s *Set) Changed(ctx context.Context) {
	if epoch, err := s.Primary.epoch(ctx); err == nil {
		s.Announced(epoch)
		Record(ctx, Source{Epoch: epoch})
	}
}

// try asks one server. It is not done if another one is to be asked.
func (s *Set) try(ctx context.Context, server *Server, minEpoch int64, ask func(context.Context, *Server) (int64, error)) (done bool, err error) {
	known, _ := server.known()
	epoch, err := s.ask(ctx, server, ask)
	switch {
	case passing(err):
	case err != nil && epoch == 0: // a fault of our own
		return true, err
	case epoch < minEpoch:
		err = errOld
	default:
		s.answers[kind(known.replica)].Add(1)
		Record(ctx, Source{epoch, known.replica})
		return true, err
	}
	s.passed[kind(known.replica)].Add(1)
	return false, err
}

func kind(replica bool) int {
	if replica {
		return 1
	}
	return 0
}

// ask bounds the time of one server, so that another one can still answer.
func (s *Set) ask(ctx context.Context, server *Server, ask func(context.Context, *Server) (int64, error)) (epoch int64, err error) {
	asking := ctx
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		asking, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
	}
	epoch, err = ask(asking, server)
	if err != nil && asking.Err() != nil {
		return epoch, &slowError{err}
	}
	if trouble, ok := postgres.TroubleOf(err); ok && trouble.Scope != postgres.ScopeWork {
		server.fail(err)
		s.logLost(ctx, server, err)
	}
	return epoch, err
}

// slowError is that of a server that took too long.
type slowError struct{ error }

func (e *slowError) Unwrap() error { return e.error }

// passing reports whether another server may answer instead.
func passing(err error) bool {
	if _, slow := errors.AsType[*slowError](err); slow {
		return true
	}
	_, trouble := postgres.TroubleOf(err)
	return trouble
}

// candidates are the servers that may have an answer that is new enough, the first to be asked
// first: replicas in turn, and primaries.
func (s *Set) candidates(first First, minEpoch int64) []*Server {
	now := time.Now()
	var replicas, primaries []*Server
	turn := int(s.turn.Add(1) % uint64(len(s.servers))) //nolint:gosec // less than the number of servers
	for i := range s.servers {
		server := s.servers[(i+turn)%len(s.servers)]
		known, ok := server.known()
		switch {
		case !ok:
		case !known.replica:
			if !s.superseded(server, known) {
				primaries = append(primaries, server)
			}
		case known.epoch >= minEpoch && now.Sub(known.asOf) <= s.Bound:
			replicas = append(replicas, server)
		}
	}
	if first == PrimaryFirst {
		return append(primaries, replicas...)
	}
	return append(replicas, primaries...)
}
