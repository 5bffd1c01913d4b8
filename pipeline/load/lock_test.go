package load_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/bucket"
	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/pipeline"
	"github.com/opentax/tally/pipeline/load"
	"github.com/opentax/tally/pipeline/parquet"
	"github.com/opentax/tally/pipeline/synthetic"
	"github.com/opentax/tally/pipeline/transform"
	"github.com/opentax/tally/summaries"
)

const (
	movesRows   = "moving rows instead"
	startsAgain = "starting again"
)

const (
	bulkFrom = 4_000
	manyRows = 6_000 // enough for a loader with bulkFrom to fill new months beside the table
)

// many returns the rows of fourteen months.
func many(t *testing.T) string {
	t.Helper()
	var content bytes.Buffer
	require.NoError(t, synthetic.Write(t.Context(), &content, synthetic.File{Rows: manyRows, Users: 500, Seed: 3}))
	return content.String()
}

// newBulkFixture is a fixture whose loader takes few rows for many.
func newBulkFixture(t *testing.T) *fixture {
	t.Helper()
	f := newFixture(t)
	f.loader = f.loader.WithBulkFrom(bulkFrom)
	return f
}

// loadLogged loads a file and returns the log. at is called when a stage begins.
func (f *fixture) loadLogged(content string, at func(stage string)) string {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute) // for a test that hangs
	defer cancel()
	var log bytes.Buffer
	req := f.request(f.write("logged.csv", content))
	req.Logger = slog.New(slog.NewTextHandler(&log, nil))
	last := ""
	req.Progress = func(p pipeline.Progress) {
		if p.Stage != last && at != nil {
			at(p.Stage)
		}
		last = p.Stage
	}
	got, err := f.loader.Load(ctx, req)
	require.NoError(f.t, err)
	require.Equal(f.t, load.StatusLoaded, got.Status, got.Error)
	return log.String()
}

// loadWhile loads a file and returns the log. do is called once, when the load has
// written the keys and is about to write the rows.
func (f *fixture) loadWhile(content string, do func()) string {
	f.t.Helper()
	var once sync.Once
	return f.loadLogged(content, func(stage string) {
		if stage == pipeline.StageWrite {
			once.Do(do)
		}
	})
}

// eventually waits until a query answers with true.
func (f *fixture) eventually(sql string, args ...any) {
	f.t.Helper()
	assert.Eventually(f.t, func() bool { return one[bool](f, sql, args...) }, testdb.Patience, 5*time.Millisecond, sql)
}

// session is a connection of someone else, at work in the background.
type session struct {
	f    *fixture
	conn *pgx.Conn
	done chan error
}

func (f *fixture) session() *session {
	f.t.Helper()
	conn, err := pgx.ConnectConfig(f.t.Context(), f.pool.Config().ConnConfig)
	require.NoError(f.t, err)
	f.t.Cleanup(func() { assert.NoError(f.t, conn.Close(context.WithoutCancel(f.t.Context()))) })
	return &session{f: f, conn: conn, done: make(chan error, 1)}
}

// begin executes statements in the background.
func (s *session) begin(sql string) {
	go func() {
		_, err := s.conn.Exec(context.WithoutCancel(s.f.t.Context()), sql, pgx.QueryExecModeSimpleProtocol)
		s.done <- err
	}()
}

// start executes statements in the background, and returns when they wait for the event.
func (s *session) start(event, sql string) {
	s.f.t.Helper()
	s.begin(sql)
	s.waits(event)
}

func (s *session) waits(event string) {
	s.f.t.Helper()
	s.f.eventually("SELECT coalesce(wait_event, '') = $1 FROM pg_stat_activity WHERE pid = $2", event, int32(s.conn.PgConn().PID()))
}

func (s *session) exec(sql string) {
	s.f.t.Helper()
	_, err := s.conn.Exec(context.WithoutCancel(s.f.t.Context()), sql, pgx.QueryExecModeSimpleProtocol)
	require.NoError(s.f.t, err)
}

// Rows that are stored already are looked up in transactions by the second connection,
// whose lock must not keep the first from attaching.
func TestRepeatsDoNotKeepMonthsFromBeingAttached(t *testing.T) {
	t.Parallel()
	f := newBulkFixture(t)
	f.load("before.csv", header+"T1,7,10.00,2020-05-05\n")
	log := f.loadLogged(many(t)+"T1,7,10.00,2020-05-05\n", nil)
	assert.NotContains(t, log, movesRows)
	assert.Equal(t, int64(1), one[int64](f, "SELECT count(*) FROM etl_rejects WHERE kept_file_id = 1"))
	f.verify()
}

// While months are attached, readers are locked out: the rows must not be read then.
func TestAttachingDoesNotReadTheRows(t *testing.T) {
	t.Parallel()
	testdb.SkipOnCluster(t, "it fills no months beside the table")
	f := newFixture(t)
	config := f.pool.Config()
	config.ConnConfig.RuntimeParams["client_min_messages"] = "debug1"
	var mu sync.Mutex
	implied := 0
	config.ConnConfig.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		mu.Lock()
		defer mu.Unlock()
		if strings.Contains(n.Message, "implied by existing constraints") {
			implied++
		}
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	f.loader = load.New(pool, nil).WithBulkFrom(bulkFrom)
	f.loadLogged(many(t), nil)
	months := one[int](f, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'transactions'::regclass")
	assert.Positive(t, months)
	assert.GreaterOrEqual(t, implied, months)
	assert.Zero(t, one[int](f, "SELECT count(*) FROM pg_constraint WHERE contype = 'c' AND conrelid IN (SELECT inhrelid FROM pg_inherits)"))
	f.verify()
}

// The first large load locks readers out of the keys, then of user_months, then of
// transactions; a verification reads them in another order.
func TestVerifyDuringAFirstLoad(t *testing.T) {
	t.Parallel()
	testdb.SkipOnCluster(t, "a verification excludes loads there")
	f := newBulkFixture(t)
	verified := make(chan error, 1)
	verifier, err := pgxpool.NewWithConfig(t.Context(), f.pool.Config())
	require.NoError(t, err)
	t.Cleanup(verifier.Close)
	f.loadWhile(many(t), func() {
		go func() {
			_, err := summaries.Verify(context.WithoutCancel(t.Context()), verifier, summaries.VerifyOptions{}, func(d summaries.Drift) { t.Error(d) })
			verified <- err
		}()
		f.eventually("SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'transaction_keys'::regclass AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))")
	})
	require.NoError(t, <-verified)
	f.verify()
}

// The same at any moment, and with exports.
func TestReadersDuringFirstLoads(t *testing.T) {
	t.Parallel()
	testdb.SkipOnCluster(t, "its nodes commit one after the other")
	content := many(t)
	for range 4 {
		f := newBulkFixture(t)
		stop := make(chan struct{})
		var reading sync.WaitGroup
		repeat := func(do func(context.Context) error) {
			reading.Go(func() {
				for ctx := context.WithoutCancel(t.Context()); ; {
					select {
					case <-stop:
						return
					default:
						assert.NoError(t, do(ctx))
					}
				}
			})
		}
		repeat(func(ctx context.Context) error {
			_, err := summaries.Verify(ctx, f.pool, summaries.VerifyOptions{}, func(d summaries.Drift) { t.Error(d) })
			return err
		})
		target, err := new(bucket.Stores).Target(t.Context(), at(t, t.TempDir()))
		require.NoError(t, err)
		repeat(func(ctx context.Context) error {
			_, err := parquet.Export(ctx, parquet.Config{Pool: f.pool, Target: target})
			return err
		})
		repeat(func(ctx context.Context) error {
			_, err := f.pool.Exec(ctx, "SELECT count(*) FROM transactions t JOIN user_months m ON m.user_id = t.user_id JOIN transaction_keys k ON k.transaction_id = t.transaction_id WHERE t.user_id = 7")
			return err
		})
		func() {
			defer reading.Wait()
			defer close(stop)
			f.loadLogged(content, nil)
		}()
		f.verify()
	}
}

// A third session waits for the load's first connection, and the second one would queue
// behind it: PostgreSQL sees no deadlock.
func TestASessionBetweenTheTwoConnections(t *testing.T) {
	t.Parallel()
	testdb.SkipOnCluster(t, "its own search for deadlocks may end the third session")
	f := newFixture(t)
	f.load("before.csv", header+"T1,7,10.00,2024-05-05\n")
	third := f.session()
	log := f.loadWhile(header+"T2,7,1.00,2024-06-05\n", func() { // the load needs a partition
		third.start("relation", "BEGIN; LOCK TABLE transactions, transaction_keys IN ACCESS EXCLUSIVE MODE; COMMIT")
	})
	require.NoError(t, <-third.done)
	assert.Contains(t, log, startsAgain)
	f.verify()
}

// The same with one table: ALTER TABLE comes when the load has deleted replaced rows and
// before it makes a partition.
func TestAlterTableBetweenTheTwoConnections(t *testing.T) {
	t.Parallel()
	testdb.SkipOnCluster(t, "its waits for locks are on the nodes")
	f := newFixture(t)
	f.rules.Corrections = transform.CorrectionsReplace
	f.load("before.csv", header+"T1,7,10.00,2024-05-05\n")
	holder, third := f.session(), f.session()
	holder.exec("BEGIN; SELECT FROM transaction_keys WHERE transaction_id = 'T1' FOR UPDATE")
	var altering sync.WaitGroup
	log := f.loadWhile(header+"T1,7,11.00,2024-05-05\nT2,7,1.00,2024-06-05\n", func() {
		altering.Go(func() {
			// The load waits for the key of T1.
			f.eventually("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'transactionid' AND datname = current_database())")
			third.start("relation", "ALTER TABLE transactions ALTER COLUMN line SET NOT NULL")
			holder.exec("COMMIT")
		})
	})
	altering.Wait()
	require.NoError(t, <-third.done)
	assert.NotContains(t, log, startsAgain) // the partition came first
	f.verify()
}

// The other way round: the first connection must not queue behind someone who waits for
// the second.
func TestAlterTableBehindTheLookUps(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.load("before.csv", header+"T1,7,10.00,2024-05-05\n")
	third := f.session()
	log := f.loadWhile(header+"T1,7,10.00,2024-05-05\nT2,7,1.00,2024-05-06\n", func() {
		third.begin("ALTER TABLE transactions ALTER COLUMN line SET NOT NULL")
		time.Sleep(100 * time.Millisecond)
	})
	require.NoError(t, <-third.done)
	assert.NotContains(t, log, startsAgain)
	f.verify()
}

// ANALYZE holds the lock that a new partition needs, and waits for no one: the load waits for it.
func TestALongLockIsWaitedFor(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	third := f.session()
	third.exec("BEGIN; LOCK TABLE transactions IN SHARE UPDATE EXCLUSIVE MODE")
	time.AfterFunc(3*time.Second, func() { third.exec("COMMIT") })
	assert.NotContains(t, f.loadLogged(header+"T1,7,10.00,2024-05-05\n", nil), startsAgain)
	f.verify()
}

// A statement that was planned before a partition existed, and takes its snapshot when
// the load has committed, would see the sums without the rows.
func TestAStatementPlannedWithoutThePartition(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.load("before.csv", header+"T1,7,10.00,2024-05-05\n")
	f.exec(`CREATE FUNCTION slow() RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM pg_sleep(2); RETURN true; END $$`)
	reader := f.session()
	same := make(chan bool, 1)
	go func() {
		var sums bool
		err := reader.conn.QueryRow(context.WithoutCancel(t.Context()), `SELECT (SELECT sum(total_amount) FROM user_summary) =
			(SELECT sum(amount::numeric) FROM transactions) WHERE slow()`).Scan(&sums)
		assert.NoError(t, err)
		same <- sums
	}()
	reader.waits("PgSleep")
	f.load("a.csv", header+"T2,7,1.00,2024-06-05\n")
	assert.True(t, <-same)
	f.verify()
}

// A reader that goes on for long holds a load up for a bounded time, one that is idle in
// its transaction not at all.
func TestNewPartitionsWaitForReadersOnlyBriefly(t *testing.T) {
	t.Parallel()
	testdb.SkipOnCluster(t, "its waits for locks are on the nodes")
	f := newFixture(t)
	reader := f.session()
	reader.exec("BEGIN; SELECT FROM transactions")
	f.load("beside an idle one.csv", header+"T1,7,10.00,2003-05-05\n")
	reader.exec("COMMIT")
	reader.start("PgSleep", "SELECT pg_sleep(600) FROM transactions LIMIT 1")
	f.load("beside a long one.csv", header+"T2,7,10.00,2015-05-05\n")
	f.exec("SELECT pg_cancel_backend($1)", int32(reader.conn.PgConn().PID()))
	assert.Error(t, <-reader.done, "it has not ended, but was cancelled")
	f.verify()
}
