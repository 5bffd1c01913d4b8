package main

import (
	"fmt"

	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/jobs"
)

// The connections of a process beside those of its workers; see [jobs.Config.PoolConns].
const (
	migrationConns = 2 // the lock of migrations, and their statements
	commandConns   = 4 // of a command: a run's lock, its load's two, one for short statements
	probeConns     = 2 // probes, monitoring, tokens and the audit trail of requests
	listenerConns  = 1 // of the cache, outside the pools
	lookConns      = 1 // of looks at the primary, outside the pools, with replicas
	requestConns   = 4 // at least
)

// shares divides the connections of a process. Whatever there is more of the more requests
// arrive has a pool of its own, so that neither side can take the other's connections.
type shares struct {
	service  int32 // the size of the pool of River, loads, ticks, exports, verifications, probes and tokens
	requests int32 // the size of the pool of the API's operations and River UI; 0 without an API
}

// share divides the connections that the URL allows. A number that is too small for the
// process is an error before anything is done.
func (p parts) share(url string) (s shares, err error) {
	total, err := postgres.MaxConns(url)
	if err != nil {
		return s, err
	}
	var outside int32 // of the pools
	s.service = commandConns
	if p.work {
		s.service, outside = p.workerConns, jobs.ListenerConns
	}
	if p.Listen != "" {
		if !p.work {
			s.service = 0
		}
		s.service, s.requests, outside = s.service+probeConns, requestConns, outside+listenerConns
		if p.looks {
			outside += lookConns
		}
	}
	rest := total - s.service - s.requests - outside
	switch {
	case rest < 0:
		err = usageError{fmt.Errorf("the database URL has pool_max_conns=%d, and this command needs at least %d connections", total, total-rest)}
	case s.requests > 0:
		s.requests += rest
	default:
		s.service += rest
	}
	return s, err
}
