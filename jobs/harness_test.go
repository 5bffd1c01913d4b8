package jobs

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	_ "time/tzdata" // the zones under test, wherever the tests run

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/civil"
	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/jobs/ledger"
	"github.com/opentax/tally/migrations"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/load"
)

// fakeClock stands still until it is advanced.
type fakeClock struct {
	mu       sync.Mutex
	now      time.Time
	sleepers []sleeper
}

type sleeper struct {
	until time.Time
	wake  chan time.Time
}

func newFakeClock(now time.Time) *fakeClock { return &fakeClock{now: now} }

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) After(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	wake := make(chan time.Time, 1)
	c.sleepers = append(c.sleepers, sleeper{c.now.Add(d), wake})
	return wake
}

// awaitSleeper waits for a sleeper and returns its remaining time.
func (c *fakeClock) awaitSleeper(t *testing.T) time.Duration {
	t.Helper()
	var d time.Duration
	require.Eventually(t, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.sleepers) == 0 {
			return false
		}
		d = c.sleepers[0].until.Sub(c.now)
		return true
	}, testdb.Patience, time.Millisecond)
	return d
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	var asleep []sleeper
	for _, s := range c.sleepers {
		if s.until.After(c.now) {
			asleep = append(asleep, s)
			continue
		}
		s.wake <- c.now
	}
	c.sleepers = asleep
}

// fakeLoader calls the test's function.
type fakeLoader struct {
	load func(ctx context.Context, req load.Request) (load.Result, error)
}

// Known knows nothing.
func (fakeLoader) Known(context.Context, load.Request, []bucket.Entry) (*load.Known, error) {
	return nil, nil //nolint:nilnil // none is known
}

func (f fakeLoader) Load(ctx context.Context, req load.Request) (load.Result, error) {
	return f.load(ctx, req)
}

// loads is a loader that loads everything.
func loads() fakeLoader {
	return fakeLoader{func(_ context.Context, req load.Request) (load.Result, error) { return loaded(req), nil }}
}

func loaded(req load.Request) load.Result {
	return load.Result{Path: req.Path.String(), Source: req.Source, Status: load.StatusLoaded, Read: 1, Loaded: 1, Faults: map[string]int64{}}
}

func newPool(t *testing.T) *pgxpool.Pool {
	t.Helper()
	return testdb.New(t, migrations.Schema{})
}

// newService is a service that is stopped at once at the end of the test.
func newService(t *testing.T, pool *pgxpool.Pool, c Config) *Service {
	t.Helper()
	if c.Logger == nil {
		c.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	if c.CodeVersion == "" {
		c.CodeVersion = "test"
	}
	s, err := New(pool, c)
	require.NoError(t, err)
	s.orphanedAfter = time.Second
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		assert.NoError(t, s.Stop(ctx))
	})
	return s
}

// longAgo is the time of files whose writers have finished.
var longAgo = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// newSource is a source of files with these contents, named a.csv, b.csv ….
func newSource(t *testing.T, contents ...string) pipeline.Source {
	t.Helper()
	dir := t.TempDir()
	for i, content := range contents {
		path := filepath.Join(dir, string(rune('a'+i))+".csv")
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		require.NoError(t, os.Chtimes(path, longAgo, longAgo))
	}
	return pipeline.Source{Name: "inbox", Path: bucket.Path(dir)}
}

const csvHeader = "transaction_id,user_id,amount,transaction_date\n"

// rows is a file of n transactions.
func rows(n int) string {
	var b strings.Builder
	b.WriteString(csvHeader)
	for i := range n {
		fmt.Fprintf(&b, "T%d,%d,%d.25,2024-05-01\n", i, i%7+1, i)
	}
	return b.String()
}

func date(t *testing.T, s string) civil.Date {
	t.Helper()
	d, err := civil.Parse(s)
	require.NoError(t, err)
	return d
}

func moment(t *testing.T, s string) time.Time {
	t.Helper()
	m, err := time.Parse(time.RFC3339, s)
	require.NoError(t, err)
	return m
}

func zone(t *testing.T, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	require.NoError(t, err)
	return z
}

// count is the number that a query comes up with.
func count(t *testing.T, pool *pgxpool.Pool, query string, args ...any) int {
	t.Helper()
	var n int
	require.NoError(t, pool.QueryRow(context.Background(), query, args...).Scan(&n))
	return n
}

func text(t *testing.T, pool *pgxpool.Pool, query string, args ...any) string {
	t.Helper()
	var s string
	require.NoError(t, pool.QueryRow(context.Background(), query, args...).Scan(&s))
	return s
}

func execute(t *testing.T, pool *pgxpool.Pool, statement string, args ...any) {
	t.Helper()
	_, err := pool.Exec(context.Background(), statement, args...)
	require.NoError(t, err)
}

// refuse makes a table refuse inserts, with this SQLSTATE, until the returned
// function is called.
func refuse(t *testing.T, pool *pgxpool.Pool, table, state string) (allow func()) {
	t.Helper()
	execute(t, pool, fmt.Sprintf(`CREATE FUNCTION refuse_%[1]s() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '%[2]s'; END $$`, table, state))
	execute(t, pool, fmt.Sprintf("CREATE TRIGGER refuse BEFORE INSERT ON %[1]s EXECUTE FUNCTION refuse_%[1]s()", table))
	return func() { execute(t, pool, fmt.Sprintf("DROP FUNCTION refuse_%s CASCADE", table)) }
}

// dates are the dates of the runs, as one string.
func dates(t *testing.T, pool *pgxpool.Pool) string {
	t.Helper()
	return text(t, pool, "SELECT coalesce(string_agg(to_char(logical_date, 'MM-DD'), ' ' ORDER BY logical_date), '') FROM etl_runs")
}

// dueRun makes the run of a date, without a worker.
func dueRun(t *testing.T, s *Service, d string) ledger.Run {
	t.Helper()
	on := date(t, d)
	run, err := s.Request(context.Background(), &on, "test", "")
	require.NoError(t, err)
	return run
}

func status(t *testing.T, s *Service, runID int64) string {
	t.Helper()
	run, err := s.Ledger().Run(context.Background(), runID)
	require.NoError(t, err)
	return run.Status
}

func awaitStatus(t *testing.T, s *Service, runID int64, want string) {
	t.Helper()
	require.Eventually(t, func() bool { return status(t, s, runID) == want }, testdb.Patience, 20*time.Millisecond, "run %d never was %s", runID, want)
}

// await waits for a channel to be closed.
func await(t *testing.T, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(testdb.Patience):
		require.FailNow(t, "it never happened")
	}
}

// pastAttempt is a past try at a run; Status is running while it has no outcome.
type pastAttempt struct {
	Worker     string     `bun:"worker"`
	Status     string     `bun:"status"`
	FinishedAt *time.Time `bun:"finished_at"`
}

// attemptsOf are all tries at a run, the first one first.
func attemptsOf(ctx context.Context, s *Service, runID int64) (all []pastAttempt, err error) {
	err = postgres.Bun(s.pool).NewSelect().TableExpr("etl_attempts").Join("LEFT JOIN etl_outcomes USING (run_id, attempt)").
		ColumnExpr("worker, coalesce(status, ?) AS status, finished_at", ledger.StatusRunning).
		Where("run_id = ?", runID).OrderExpr("attempt").Scan(ctx, &all)
	return all, err
}
