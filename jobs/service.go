package jobs

import (
	"cmp"
	"context"
	_ "embed" // for jobs.sql
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/internal/sqlfile"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/jobs/notify"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/load"
)

//go:embed jobs.sql
var jobsSQL string

const (
	defaultCatchUpLimit = 31
	defaultTimeout      = 12 * time.Hour
	rescueAfter         = time.Hour        // after the timeout River calls a job stuck; Reconcile comes long before
	hardStop            = 15 * time.Second // the longest wait for an interrupted load
	flushTimeout        = 5 * time.Second  // the longest wait for the last log lines
)

// Loader loads one file, and knows those that have not changed; [load.Loader] is the real
// one.
type Loader interface {
	Known(ctx context.Context, req load.Request, files []bucket.Entry) (*load.Known, error)
	Load(ctx context.Context, req load.Request) (load.Result, error)
}

// Config has what is run and when. Its zero value works: no sources, midnight in UTC,
// every missed date caught up.
type Config struct {
	Sources  []pipeline.Source // read by the run of a logical date, in this order
	Currency string            // of the database, as ISO 4217 has it; "" means that of the first amount with a mark
	// ExportTo is the target of the Parquet export after each run: a folder, or s3://, gs:// or
	// azblob:// with a bucket and a prefix. The zero value means no export.
	ExportTo     bucket.Location
	Notify       notify.Config  // who is told about alerts; the zero value tells no one
	Retention    Retention      // of records; the zero value keeps all
	Stores       *bucket.Stores // read from and exported to; the caller closes them after Stop; nil opens them anew
	Verify       VerifyPolicy   // after the runs of dates; "" means nightly
	TimeZone     *time.Location // of the midnights; nil means UTC
	CatchUp      CatchUp        // the policy for missed midnights; "" means all
	CatchUpLimit int            // the number of dates that the policy all runs, the newest ones; 0 means 31
	Timeout      time.Duration  // of one attempt at a run; 0 means 12 hours
	CodeVersion  string         // recorded with each attempt and file
	Worker       string         // the name of this process in the ledger; "" means host:pid
	// Actor names the sender of a request through River UI; nil means anonymous.
	Actor  func(*http.Request) string
	Loader Loader // nil means load.New
	// Sessions is a way past a pooler, for the runs' locks and River's notifications: at least
	// [Config.SessionConns] connections. nil means the service's pool.
	Sessions *pgxpool.Pool
	Tracer   trace.TracerProvider // of each job's insertion and of each attempt, in the same trace; nil means none
	Clock    Clock                // of the schedule; nil means the system's
	Logger   *slog.Logger         // gets every log line, those of the ledger too; nil means none
}

// Check names the field that is wrong.
func (c Config) Check() error {
	if err := c.CatchUp.Check(); err != nil {
		return fmt.Errorf("jobs: CatchUp %w", err)
	}
	if err := c.Verify.Check(); err != nil {
		return fmt.Errorf("jobs: Verify %w", err)
	}
	if c.CatchUpLimit < 0 {
		return fmt.Errorf("jobs: CatchUpLimit is %d, want at least 1", c.CatchUpLimit)
	}
	if c.Timeout < 0 {
		return fmt.Errorf("jobs: Timeout is %v, want more than 0", c.Timeout)
	}
	if err := pipeline.CheckSources(c.Sources); err != nil {
		return fmt.Errorf("jobs: Sources: %w", err)
	}
	return nil
}

func (c Config) withDefaults(pool *pgxpool.Pool) Config {
	c.TimeZone = cmp.Or(c.TimeZone, time.UTC)
	c.CatchUp = cmp.Or(c.CatchUp, CatchUpAll)
	c.Verify = cmp.Or(c.Verify, VerifyNightly)
	c.CatchUpLimit = cmp.Or(c.CatchUpLimit, defaultCatchUpLimit)
	c.Timeout = cmp.Or(c.Timeout, defaultTimeout)
	if c.Worker == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "unknown"
		}
		c.Worker = fmt.Sprintf("%s:%d", host, os.Getpid())
	}
	if c.Actor == nil {
		c.Actor = func(*http.Request) string { return "anonymous" }
	}
	c.Stores = cmp.Or(c.Stores, &bucket.Stores{})
	if c.Loader == nil {
		c.Loader = load.New(pool, c.Stores)
	}
	c.Clock = cmp.Or[Clock](c.Clock, wallClock{})
	c.Tracer = cmp.Or[trace.TracerProvider](c.Tracer, noop.NewTracerProvider())
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	return c
}

// Service is the schedule and the workers of one process. Without Start it still takes
// requests and runs in the foreground.
type Service struct {
	config Config
	pool   *pgxpool.Pool
	ledger *ledger.Store
	// changes is the loader of changes after the load.
	changes *load.Loader
	river   *river.Client[pgx.Tx]
	sql     sqlfile.Statements
	logger  *slog.Logger
	logs    *logSink
	turns   chan struct{} // of runs

	alerts   sqlfile.Statements
	channels []notify.Channel

	orphanedAfter time.Duration
	databaseTime  func(time.Time) time.Time // corrects the database's clock, in tests
	alertQuiet    time.Duration             // for which a condition must not hold before its alert closes
	runTries      int                       // of a job
	growingAfter  time.Duration

	mu       sync.Mutex
	started  bool
	closed   bool
	halt     []func() // end the parts besides River
	schedule sync.WaitGroup
}

// New makes a service on pool, which the caller closes after Stop. It does not connect.
func New(pool *pgxpool.Pool, c Config) (*Service, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	channels, err := c.Notify.Channels()
	if err != nil {
		return nil, fmt.Errorf("jobs: Notify: %w", err)
	}
	c = c.withDefaults(pool)
	s := &Service{
		config: c, pool: pool, ledger: ledger.NewStore(pool), sql: sqlfile.Parse(jobsSQL), logger: c.Logger, orphanedAfter: orphanedAfter, runTries: jobAttempts,
		databaseTime: func(t time.Time) time.Time { return t },
		alerts:       sqlfile.Parse(alertSQL), channels: channels, alertQuiet: alertQuiet,
		turns:        make(chan struct{}, c.runsAtOnce(pool.Config().MaxConns)),
		growingAfter: growingAfter,
	}
	s.logs = newLogSink(s.ledger, c.Logger)
	if own, ok := c.Loader.(*load.Loader); ok { // so that loads and changes share its turns
		s.changes = own
	} else {
		s.changes = load.New(pool, c.Stores)
	}
	client, err := river.NewClient[pgx.Tx](newDriver(pool, c.Sessions), s.riverConfig())
	if err != nil {
		return nil, fmt.Errorf("make the River client: %w", err)
	}
	s.river = client
	return s, nil
}

var errStopped = errors.New("the service is stopped")

// Ledger reads the ledger of all services on this database.
func (s *Service) Ledger() *ledger.Store { return s.ledger }

// Start starts the schedule and the workers, which run until Stop; ctx is for the start
// only. It fails if the database cannot be reached.
func (s *Service) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errStopped
	}
	if s.started {
		return nil
	}
	if n, want := s.pool.Config().MaxConns, s.config.PoolConns(); n < want {
		return fmt.Errorf("start the workers: the pool has room for %d connections, want at least %d", n, want)
	}
	if err := postgres.NeedSessions(ctx, s.sessions()); err != nil {
		return fmt.Errorf("start the workers: %w", err)
	}
	// River takes the end of its context as an order to stop at once.
	permanent := context.WithoutCancel(ctx)
	if err := s.river.Start(permanent); err != nil {
		return fmt.Errorf("start the workers: %w", err)
	}
	ticking, stopTicking := context.WithCancel(permanent)
	s.halt = append(s.halt, stopTicking)
	s.schedule.Go(func() { s.runSchedule(ticking) })
	s.started = true
	return nil
}

// Stop lets running loads finish until ctx ends; then it interrupts them. An interrupted
// load leaves nothing behind, its attempt is recorded as interrupted, and its job goes
// back to the queue at once. Stop writes the last log lines and returns within seconds
// after ctx ends. A second Stop does nothing.
func (s *Service) Stop(ctx context.Context) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	started, halt := s.started, s.halt
	s.mu.Unlock()

	for _, stop := range halt {
		stop()
	}
	s.schedule.Wait()
	var err error
	if started {
		err = s.stopRiver(ctx)
	}
	flushing, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	return errors.Join(err, s.logs.Close(flushing))
}

func (s *Service) stopRiver(ctx context.Context) error {
	if s.river.Stop(ctx) == nil {
		return nil
	}
	s.logger.WarnContext(ctx, "interrupting the running loads; their jobs go back to the queue")
	hard, cancel := context.WithTimeout(context.WithoutCancel(ctx), hardStop)
	defer cancel()
	if err := s.river.StopAndCancel(hard); err != nil {
		return fmt.Errorf("stop the workers: %w", err)
	}
	return nil
}
