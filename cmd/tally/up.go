package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/opentax/tally/api"
	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/jobs"
	"github.com/opentax/tally/migrations"
	"github.com/opentax/tally/pipeline/synthetic"
	"github.com/opentax/tally/summaries"
)

const (
	drainTimeout   = 20 * time.Second // for requests and jobs that are going on when the process is told to stop
	riverPrefix    = "/riverui"
	sampleRows     = 10_000
	sampleUsers    = 1_000
	sampleFileName = "sample.csv"
)

type listenFlags struct {
	Listen string `default:"127.0.0.1:8080" env:"TALLY_LISTEN" placeholder:"ADDR" help:"Address of the API. One beyond this machine needs a token: tally token add."`
	Open   bool   `env:"TALLY_OPEN" help:"Listen beyond this machine without any token as well; for where something else keeps others out, as a container's port does that is published to 127.0.0.1 alone."`
}

type upCmd struct {
	listenFlags
	Sample bool `help:"Load a generated sample first."`
}

func (cmd upCmd) Run(ctx context.Context, env *environment) error {
	return env.serve(ctx, parts{listenFlags: cmd.listenFlags, work: true, sample: cmd.Sample})
}

type serveCmd struct{ listenFlags }

func (cmd serveCmd) Run(ctx context.Context, env *environment) error {
	return env.serve(ctx, parts{listenFlags: cmd.listenFlags})
}

type workCmd struct{}

func (workCmd) Run(ctx context.Context, env *environment) error {
	return env.serve(ctx, parts{work: true})
}

// parts says which of the program a process runs.
type parts struct {
	listenFlags      // without an address: no API
	work        bool // the schedule and the workers
	sample      bool
}

// withService wires the database and the jobs by hand, and takes them down in the
// opposite order: the job that is going on finishes or goes back to the queue,
// then the database stops.
func (env *environment) withService(ctx context.Context, do func(*database, *jobs.Service) error) (err error) {
	settings, err := env.loadConfig()
	if err != nil {
		return err
	}
	return env.withDatabase(ctx, func(db *database) error { return env.withJobs(db, settings, do) })
}

func (env *environment) withDatabase(ctx context.Context, do func(*database) error) (err error) {
	db, err := env.open(ctx)
	if err != nil {
		return err
	}
	defer closing(&err, db.Close)
	return do(db)
}

func (env *environment) withJobs(db *database, s settings, do func(*database, *jobs.Service) error) (err error) {
	config := s.jobs
	config.Logger, config.Tracer, config.Stores = env.logger, env.tracer, env.stores
	config.Actor = func(r *http.Request) string { return api.Actor(r.Context()) }
	service, err := jobs.New(db.pool, config)
	if err != nil {
		return err
	}
	defer closing(&err, func() error { return drain(service.Stop) })
	return do(db, service)
}

// serve runs a process's parts until ctx is done. New requests end first, those
// that are going on finish, and then what withService takes down.
func (env *environment) serve(ctx context.Context, p parts) error {
	// First of all, since a wrong address must not start a load.
	listener, err := p.listener(ctx)
	if err != nil {
		return err
	}
	if listener != nil {
		defer listener.Close() //nolint:errcheck // closed by the server already, if all went well
	}
	settings, err := env.loadConfig()
	if err != nil {
		return err
	}
	return env.withDatabase(ctx, func(db *database) error {
		access, err := env.access(ctx, p, listener, db, settings.rateLimit)
		if err != nil {
			return err
		}
		defer access.Close()
		return env.withJobs(db, settings, func(db *database, service *jobs.Service) error {
			return env.serveParts(ctx, p, listener, db, service, access)
		})
	})
}

// access is who may use the API. Where anybody on the network could, it is an
// error, before anything has been done.
func (env *environment) access(ctx context.Context, p parts, listener net.Listener, db *database, limit api.RateLimit) (*api.Access, error) {
	config := api.AccessConfig{Tokens: api.NewTokens(db.pool), RateLimit: limit, Logger: env.logger}
	if listener == nil || onLoopback(listener.Addr()) {
		return api.NewAccess(config), nil
	}
	any, err := config.Tokens.Any(ctx)
	if err != nil {
		return nil, err
	}
	config.Required = !p.Open
	if !any && config.Required {
		return nil, usageError{fmt.Errorf("--listen %s reaches beyond this machine, and there is no token: "+
			"add one first (tally token add NAME --role operator), or listen on 127.0.0.1", p.Listen)}
	}
	if !any {
		env.logger.WarnContext(ctx, "the API listens beyond this machine, and asks nobody who they are until a token is added (tally token add)",
			"address", listener.Addr().String())
	}
	return api.NewAccess(config), nil
}

func onLoopback(address net.Addr) bool {
	tcp, ok := address.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

func (env *environment) serveParts(ctx context.Context, p parts, listener net.Listener, db *database, service *jobs.Service, access *api.Access) error {
	if p.sample {
		if err := env.loadSample(ctx, service); err != nil {
			return err
		}
	}
	if p.work {
		if err := service.Start(ctx); err != nil {
			return err
		}
		env.logger.InfoContext(ctx, "schedule and workers started")
	}
	if listener == nil {
		<-ctx.Done()
		return nil
	}
	return env.answer(ctx, listener, db, service, access)
}

// listener is where the API listens, nil where it does not.
func (p parts) listener(ctx context.Context) (net.Listener, error) {
	if p.Listen == "" {
		return nil, nil // nothing to listen on is no error
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", p.Listen)
	if err != nil {
		return nil, usageError{fmt.Errorf("--listen: %w", err)}
	}
	return listener, nil
}

// drain stops something with the time that a process has for that.
func drain(stop func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	return stop(ctx)
}

func (env *environment) answer(ctx context.Context, listener net.Listener, db *database, service *jobs.Service, access *api.Access) error {
	ui, err := service.UI(riverPrefix)
	if err != nil {
		return err
	}
	store := summaries.NewStore(db.pool)
	cache, err := summaries.NewCache(summaries.CacheConfig{Store: store, Connect: db.dial, Logger: env.logger})
	if err != nil {
		return err
	}
	handler, err := api.New(api.Config{
		Summaries: cached{store, cache},
		Runs:      service.Ledger(),
		Request:   service.Request,
		Ready: func(ctx context.Context) error {
			return errors.Join(ready(ctx, db), keptUp(ctx, service, cache))
		},
		Figures:   api.Figures{Ledger: service.Ledger().Stats, Pool: db.pool.Stat, Cache: cache.Stats},
		Tracer:    env.tracer,
		AccessLog: env.accessLog,
		Version:   codeVersion(),
		Access:    access,
		Logger:    env.logger,
		Mounts:    map[string]http.Handler{riverPrefix + "/": ui},
	})
	if err != nil {
		return err
	}
	// The requests that are going on when ctx is done are still answered from memory;
	// the listener's connection is closed before the database is.
	stop := listen(ctx, cache)
	defer stop()
	env.announce(ctx, listener.Addr())
	return serveHTTP(ctx, api.NewServer(listener.Addr().String(), handler), listener)
}

// cached answers for one user from memory, and for the rest from the database.
type cached struct {
	*summaries.Store
	cache *summaries.Cache
}

func (c cached) Get(ctx context.Context, userID int32) (summaries.Summary, error) {
	return c.cache.Get(ctx, userID)
}

// listen keeps the cache until stop is called, which waits until it has hung up.
func listen(ctx context.Context, cache *summaries.Cache) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		cache.Listen(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

// ready is what /readyz asks: the database answers and has this program's schema.
func ready(ctx context.Context, db *database) error {
	steps, err := migrations.Status(ctx, db.pool)
	if err != nil {
		return api.NotReady("database", err)
	}
	for _, s := range steps {
		if !s.Applied() {
			return api.NotReady("migrations", fmt.Errorf("%s is still to come", s.Name))
		}
	}
	return nil
}

// scheduleGrace is what a worker may take to decide on a day that has ended.
const scheduleGrace = 5 * time.Minute

// keptUp says what does not work though the API does: the schedule, which may be
// another process's to keep, and the memory of summaries.
func keptUp(ctx context.Context, service *jobs.Service, cache *summaries.Cache) error {
	var errs []error
	if err := service.CheckSchedule(ctx, scheduleGrace); errors.Is(err, jobs.ErrScheduleLate) {
		errs = append(errs, api.Degraded("schedule", err))
	}
	if !cache.Stats().Listening {
		errs = append(errs, api.Degraded("listener", errors.New("commits are not heard of, so every answer comes from the database")))
	}
	return errors.Join(errs...)
}

func (env *environment) announce(ctx context.Context, address net.Addr) {
	base := "http://" + address.String()
	env.logger.InfoContext(ctx, "serving", "api", base, "docs", base+"/docs", "jobs", base+riverPrefix+"/")
}

func serveHTTP(ctx context.Context, server *http.Server, listener net.Listener) error {
	done := make(chan error, 1)
	go func() {
		<-ctx.Done()
		done <- drain(server.Shutdown)
	}()
	if err := server.Serve(api.Listener(listener)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return <-done
}

// loadSample generates the sample into the data folder and loads it. The same
// bytes every time, so the second time finds it loaded.
func (env *environment) loadSample(ctx context.Context, service *jobs.Service) error {
	dir, err := env.dataDir()
	if err != nil {
		return err
	}
	path := filepath.Join(dir, sampleFileName)
	if err := writeSample(ctx, path); err != nil {
		return fmt.Errorf("sample: %w", err)
	}
	return env.process(ctx, service, jobs.RunRequest{Paths: []bucket.Location{bucket.Path(path)}, RequestedBy: requestedBy()}, env.printText)
}

func writeSample(ctx context.Context, path string) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer closing(&err, file.Close)
	return synthetic.Write(ctx, file, synthetic.File{Rows: sampleRows, Users: sampleUsers, Seed: 1})
}

type healthCmd struct {
	URL string `default:"http://127.0.0.1:8080/readyz" help:"What to ask."`
}

const healthTimeout = 5 * time.Second

func (cmd healthCmd) Run(ctx context.Context, env *environment) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, cmd.URL, http.NoBody)
	if err != nil {
		return usageError{fmt.Errorf("--url: %w", err)}
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	fmt.Fprintln(env.stdout, response.Status)
	if err := response.Body.Close(); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return errFailed
	}
	return nil
}
