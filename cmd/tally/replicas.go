package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opentax/tally/api"
	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/internal/replica"
	"github.com/opentax/tally/jobs"
	"github.com/opentax/tally/summaries"
)

const (
	defaultStaleness = time.Minute
	// databaseName is the name of DATABASE_URL's server among those for reads.
	databaseName = "DATABASE_URL"
)

// staleness is the bound on the age of answers.
func (c config) staleness() (time.Duration, error) {
	if c.MaxStaleness == 0 {
		return defaultStaleness, nil
	}
	if c.MaxStaleness < replica.MinBound {
		return 0, fmt.Errorf("max_staleness is %v, want at least %v", c.MaxStaleness, replica.MinBound)
	}
	return c.MaxStaleness, nil
}

// openReplicas opens the servers of DATABASE_READ_URL, which need not be available, beside the primary.
func (a *application) openReplicas(ctx context.Context, bound time.Duration) error {
	if a.ReadURL == "" {
		return nil
	}
	names, pools, err := postgres.OpenEach(ctx, postgres.Config{URL: a.ReadURL, StatementTimeout: requestTimeout, Tracer: a.tracer})
	if err != nil {
		return usageError{fmt.Errorf("DATABASE_READ_URL: %w", err)}
	}
	config := replica.Config{Primary: &replica.Server{Name: databaseName, Pool: a.database.requests}, Bound: bound, Logger: a.logger}
	for i, pool := range pools {
		a.onClose(func() error { pool.Close(); return nil })
		config.Replicas = append(config.Replicas, &replica.Server{Name: names[i], Pool: pool})
	}
	if a.replicas, err = replica.NewSet(ctx, config); err != nil {
		return err
	}
	a.onClose(func() error { a.replicas.Close(); return nil })
	return nil
}

// newReads makes the API's reads from replicas. A service of jobs for each, which is never started, lists rejects.
func (a *application) newReads(config jobs.Config) (*api.Replicas, error) {
	backends := map[*replica.Server]api.Backend{}
	for _, server := range append(a.replicas.Replicas, a.replicas.Primary) {
		store := summaries.NewStore(server.Pool)
		if server == a.replicas.Primary {
			store = a.store
		}
		service, err := jobs.New(server.Pool, config)
		if err != nil {
			return nil, err
		}
		a.onClose(func() error { return drain(service.Stop) })
		backends[server] = api.Backend{Summaries: store, Runs: service.Ledger(), Rejects: service.Rejects}
	}
	return api.NewReplicas(a.replicas, backends), nil
}

// reading has the sources of the API, and the target of its changes.
type reading struct {
	summaries api.Summaries
	runs      api.RunReader
	changes   api.Changes
}

// newReading makes the cache, and what the API reads from behind it: one server or several.
func (a *application) newReading(ctx context.Context, config jobs.Config) (r reading, err error) {
	cache := summaries.CacheConfig{Connect: a.database.dial, Logger: a.logger}
	a.store = summaries.NewStore(a.database.requests)
	distributed, err := a.database.distributed(ctx)
	if err != nil && a.replicas == nil { // with replicas, the primary may be unavailable
		return r, err
	}
	if distributed && a.replicas != nil {
		return r, usageError{errors.New("the database is distributed over a cluster, which has no replicas of a known epoch: unset DATABASE_READ_URL")}
	}
	if a.replicas == nil {
		cache.Store = a.store
		if a.cache, err = summaries.NewCache(cache); err != nil {
			return r, err
		}
		if distributed { // its nodes commit one after the other, so a summary may be older than the epoch
			return reading{a.store, a.requests.Ledger(), a.requests}, nil
		}
		return reading{cached{a.store, a.cache}, a.requests.Ledger(), a.requests}, nil
	}
	reads, err := a.newReads(config)
	if err != nil {
		return r, err
	}
	cache.Store, cache.Announced, cache.Heartbeat = reads, a.replicas.Announced, a.replicas.Bound/2
	if a.cache, err = summaries.NewCache(cache); err != nil {
		return r, err
	}
	return reading{reads.Summaries(a.cache), reads.Runs(), reads.Changes(a.requests)}, nil
}

// readable reports whether reads go on without the primary: it cannot be reached, and another
// server may answer.
func (a *application) readable() (without bool) {
	if a.replicas == nil {
		return false
	}
	others := false
	for _, s := range a.replicas.States() {
		if s.Available && !s.Replica {
			return false
		}
		others = others || (s.Available && !s.Behind)
	}
	return others
}

// degradedReplicas reports servers for reads that do not answer, or are behind.
func (a *application) degradedReplicas() error {
	if a.replicas == nil {
		return nil
	}
	var errs []error
	for _, s := range a.replicas.States() {
		switch {
		case s.Name == databaseName:
		case !s.Available:
			errs = append(errs, fmt.Errorf("%s is unavailable", s.Name))
		case s.Behind:
			errs = append(errs, fmt.Errorf("%s is behind by more than %v", s.Name, a.replicas.Bound))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return api.Degraded("replicas", errors.Join(errs...))
}
