package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/api"
	"github.com/opentax/tally/api/console"
	"github.com/opentax/tally/internal/replica"
	"github.com/opentax/tally/internal/report"
	"github.com/opentax/tally/jobs"
	"github.com/opentax/tally/migrations"
	"github.com/opentax/tally/summaries"
)

const (
	drainTimeout  = 20 * time.Second // for running requests and jobs when the process is interrupted
	riverPrefix   = "/riverui"
	scheduleGrace = 5 * time.Minute // for a worker to decide a date that ended
	startGrace    = 5 * time.Second // for the parts of a process to start
)

// application has the parts of a process. openApplication wires them from top to bottom;
// Close closes them from bottom to top.
type application struct {
	*environment
	parts
	listener net.Listener // nil without an API; then requests, store, cache and server are nil too
	database *database
	access   *api.Access
	tokens   *api.Tokens
	jobs     *jobs.Service
	requests *jobs.Service    // takes those of the API; nil without one
	store    *summaries.Store // reads from the database on the pool of requests
	cache    *summaries.Cache
	replicas *replica.Set // nil without DATABASE_READ_URL
	server   *http.Server
	settings settings
	started  time.Time // of serving
	closers  []func() error
}

// parts selects the parts of the program that a process runs.
type parts struct {
	listenFlags      // without an address: no API
	migrate     bool // an older schema
	work        bool // schedule and workers
	sample      bool
	workerConns int32 // of the pool, for workers
	// sessionConns are those past a pooler that workers need with a pool of a size.
	sessionConns func(pool int32) int32
	looks        bool // at the primary, since replicas serve reads
}

// lasts reports whether the process serves or works, and does not end by itself.
func (p parts) lasts() bool { return p.work || p.Listen != "" }

// openApplication opens all that a process needs, and starts only the database and River UI.
func (env *environment) openApplication(ctx context.Context, p parts) (a *application, err error) {
	a = &application{environment: env, parts: p}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	// First, since a wrong address must not start a load.
	if err := a.listen(ctx); err != nil {
		return a, err
	}
	settings, err := env.loadConfig()
	if err != nil {
		return a, err
	}
	a.workerConns, a.sessionConns, a.looks = settings.jobs.PoolConns(), settings.jobs.SessionConns, env.ReadURL != ""
	if a.database, err = env.open(ctx, a.parts); err != nil {
		return a, err
	}
	a.onClose(a.database.Close)
	if a.access, err = a.newAccess(ctx, settings.rateLimit); err != nil {
		return a, err
	}
	a.onClose(func() error { a.access.Close(); return nil })
	config := settings.jobs
	config.Logger, config.Tracer, config.Stores = env.logger, env.tracer, env.stores
	a.settings = settings
	config.Sessions = a.database.direct
	config.Actor = func(r *http.Request) string { return api.Actor(r.Context()) }
	if a.jobs, err = jobs.New(a.database.pool, config); err != nil {
		return a, err
	}
	a.onClose(func() error { return drain(a.jobs.Stop) })
	if a.listener == nil {
		return a, nil
	}
	// Of its own, on the pool of requests, and never started: a request must not wait for the
	// connections of runs, nor take them.
	if a.requests, err = jobs.New(a.database.requests, config); err != nil {
		return a, err
	}
	a.onClose(func() error { return drain(a.requests.Stop) })
	if err := a.openReplicas(ctx, settings.staleness); err != nil {
		return a, err
	}
	a.tokens.ReadFrom(a.replicas)
	return a, a.newServer(ctx, config)
}

// newServer makes the API.
func (a *application) newServer(ctx context.Context, config jobs.Config) error {
	ui, err := a.requests.UI(riverPrefix)
	if err != nil {
		return err
	}
	reads, err := a.newReading(ctx, config)
	if err != nil {
		return err
	}
	drop, err := a.newDrop()
	if err != nil {
		return err
	}
	serving, stop := context.WithCancel(context.Background()) // ends live pages and verifications
	a.onClose(func() error { stop(); return nil })
	handler, err := api.New(api.Config{
		Summaries: reads.summaries,
		Runs:      reads.runs,
		Request:   a.requests.Request,
		Changes:   reads.changes,
		Proofs:    proofs{a, serving},
		Replicas:  a.replicas,
		Ready:     a.ready,
		Figures: api.Figures{Ledger: a.jobs.Stats, Cache: a.cache.Stats, Reads: a.replicas, Pools: map[string]func() *pgxpool.Stat{
			"requests": a.database.requests.Stat, "service": a.database.pool.Stat,
		}},
		Tracer:    a.tracer,
		AccessLog: a.accessLog,
		Version:   codeVersion(),
		Access:    a.access,
		Logger:    a.logger,
		Mounts:    map[string]http.Handler{riverPrefix + "/": ui},
		Console: &console.Config{
			Ledger: a.requests.Ledger(), Changes: a.requests, Tonight: a.requests.Tonight, DueAt: a.requests.DueAt, Report: a.report,
			Drop: drop, TimeZone: a.settings.jobs.TimeZone, Currency: a.settings.jobs.Currency, Jobs: riverPrefix, Stop: serving.Done(),
		},
	})
	if err != nil {
		return err
	}
	a.server = api.NewServer(a.listener.Addr().String(), handler)
	a.server.RegisterOnShutdown(stop)
	return nil
}

// report reports on the database through the pool of requests.
func (a *application) report(ctx context.Context) (*report.Report, error) {
	pending, err := pendingMigrations(ctx, a.database)
	if err != nil {
		return nil, err
	}
	return report.Make(ctx, report.Config{
		Pool: a.database.requests, Queries: queries, Rollups: rollups(), Pending: pending,
		Machine: a.machineOf(a.database), Version: codeVersion(),
	})
}

func (a *application) onClose(close func() error) { a.closers = append(a.closers, close) }

// Close closes the open parts, the last one first: a running job finishes or goes back to
// the queue, then the database stops.
func (a *application) Close() error {
	var err error
	for _, close := range slices.Backward(a.closers) {
		err = errors.Join(err, close())
	}
	a.closers = nil
	return err
}

// runApplication runs a process until ctx ends. Then it takes no new requests, finishes
// the running ones and closes the application.
func (env *environment) runApplication(ctx context.Context, p parts) (err error) {
	a, err := env.openApplication(ctx, p)
	if err != nil {
		return err
	}
	defer closing(&err, a.Close)
	var sample jobs.Queued
	if a.sample { // before the workers start, so that they begin with it
		if sample, err = a.enqueueSample(ctx); err != nil {
			return err
		}
	}
	if a.work {
		if err := a.jobs.Start(ctx); err != nil {
			return err
		}
		a.logger.InfoContext(ctx, "schedule and workers started")
	}
	if a.sample {
		if err := a.awaitSample(ctx, sample); err != nil {
			return err
		}
	}
	if a.server == nil {
		<-ctx.Done()
		return nil
	}
	return a.serve(ctx)
}

// withService runs a command that needs the database and jobs in the foreground.
func (env *environment) withService(ctx context.Context, do func(*jobs.Service) error) (err error) {
	a, err := env.openApplication(ctx, parts{})
	if err != nil {
		return err
	}
	defer closing(&err, a.Close)
	return do(a.jobs)
}

// listen opens the API's listener, if there is an address.
func (a *application) listen(ctx context.Context) (err error) {
	if a.Listen == "" {
		return nil
	}
	if a.listener, err = new(net.ListenConfig).Listen(ctx, "tcp", a.Listen); err != nil {
		return usageError{fmt.Errorf("--listen: %w", err)}
	}
	a.onClose(func() error {
		_ = a.listener.Close() // an error means that the server has closed it already
		return nil
	})
	return nil
}

// serve answers requests until ctx ends. Running ones still use the cache, whose
// connection is closed before the database.
func (a *application) serve(ctx context.Context) error {
	a.started = time.Now()
	listening, stop := context.WithCancel(context.WithoutCancel(ctx))
	var cache sync.WaitGroup
	cache.Go(func() { a.cache.Listen(listening) })
	a.onClose(func() error {
		stop()
		cache.Wait()
		return nil
	})
	base := "http://" + a.listener.Addr().String()
	a.logger.InfoContext(ctx, "serving", "api", base, "docs", base+"/docs", "jobs", base+riverPrefix+"/")
	done := make(chan error, 1)
	go func() {
		<-ctx.Done()
		done <- drain(a.server.Shutdown)
	}()
	if err := a.server.Serve(api.Listener(a.listener, a.logger)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return <-done
}

// drain bounds the time of a stop.
func drain(stop func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	return stop(ctx)
}

// newAccess decides who may use the API. An address that is open to the network without
// a token is an error before anything is done.
func (a *application) newAccess(ctx context.Context, limit api.RateLimit) (*api.Access, error) {
	a.tokens = api.NewTokens(a.database.pool)
	config := api.AccessConfig{Tokens: a.tokens, RateLimit: limit, Logger: a.logger}
	if a.listener == nil || onLoopback(a.listener.Addr()) {
		return api.NewAccess(config), nil
	}
	any, err := config.Tokens.Any(ctx)
	if err != nil {
		return nil, err
	}
	config.Required = !a.Open
	if !any && config.Required {
		return nil, usageError{fmt.Errorf("--listen %s is a non-loopback address, and there is no token: "+
			"add one first (tally token add NAME --role operator), or listen on 127.0.0.1", a.Listen)}
	}
	if !any {
		a.logger.WarnContext(ctx, "the API is unauthenticated on a non-loopback address until a token is added (tally token add)",
			"address", a.listener.Addr().String())
	}
	return api.NewAccess(config), nil
}

func onLoopback(address net.Addr) bool {
	tcp, ok := address.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// cached reads one user's summary and the top users from the cache, and all else from the
// database.
type cached struct {
	*summaries.Store
	cache *summaries.Cache
}

func (c cached) Get(ctx context.Context, userID int32) (summaries.Summary, error) {
	return c.cache.Get(ctx, userID)
}

func (c cached) Top(ctx context.Context, by summaries.Order, limit int) ([]summaries.Summary, error) {
	return c.cache.Top(ctx, by, limit)
}

// ready is the check of /readyz: the database answers and has this program's schema. Without a
// primary, replicas are enough for reads.
func (a *application) ready(ctx context.Context) error {
	if a.readable() {
		return errors.Join(api.Degraded("primary", errors.New("the primary is unavailable, so only reads are answered")), a.degradedReplicas())
	}
	pending, err := pendingMigrations(ctx, a.database)
	if newer, ok := errors.AsType[*migrations.NewerError](err); ok {
		return api.NotReady("migrations", newer)
	}
	if err != nil {
		return api.NotReady("database", err)
	}
	var errs []error
	if len(pending) > 0 {
		errs = append(errs, api.NotReady("migrations", fmt.Errorf("%s is pending", pending[0])))
	}
	return errors.Join(append(errs, a.degradedReplicas(), a.degraded(ctx, time.Since(a.started)))...)
}

// degraded reports parts that do not work although the API does: the schedule, which
// another process may keep, and the cache. While they may be starting it reports nothing
// of that. A wrong clock, and a schedule that it has moved, make the process not ready.
func (a *application) degraded(ctx context.Context, up time.Duration) error {
	var errs []error
	switch err := a.jobs.CheckSchedule(ctx, scheduleGrace); {
	case errors.Is(err, jobs.ErrClockAhead):
		errs = append(errs, api.NotReadyBecause("clock", err))
	case errors.Is(err, jobs.ErrScheduleAhead):
		errs = append(errs, api.NotReadyBecause("schedule", err))
	case errors.Is(err, jobs.ErrScheduleLate) && up >= startGrace:
		errs = append(errs, api.Degraded("schedule", err))
	}
	if up < startGrace {
		return errors.Join(errs...)
	}
	if !a.cache.Stats().Listening {
		errs = append(errs, api.Degraded("listener", errors.New("no notifications are received, so every answer comes from the database")))
	}
	return errors.Join(errs...)
}
