package summaries

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opentax/tally/internal/money"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/opentax/tally/internal/replica"
	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/migrations"
)

// reader is a Reader of functions, and counts what is read.
type reader struct {
	blocked atomic.Bool // no connection for the listener
	get     func(context.Context, int32) (Summary, error)
	read    func(context.Context, int32) (Reading, error)
	top     func(context.Context, Order) (TopReading, error)
	gets    atomic.Int64
	reads   atomic.Int64
}

func (r *reader) Get(ctx context.Context, user int32) (Summary, error) {
	r.gets.Add(1)
	return r.get(ctx, user)
}

func (r *reader) Read(ctx context.Context, user int32) (Reading, error) {
	r.reads.Add(1)
	return r.read(ctx, user)
}

func (r *reader) ReadTop(ctx context.Context, by Order) (TopReading, error) {
	r.reads.Add(1)
	return r.top(ctx, by)
}

func noConnection(context.Context) (*pgx.Conn, error) { return nil, errors.New("no connection") }

// faked is a cache in front of a database whose state is one number: the epoch, and
// each user's transactions.
func faked(t *testing.T, entries int) (*Cache, *reader, *atomic.Int64) {
	t.Helper()
	var epoch atomic.Int64
	epoch.Store(10)
	r := &reader{}
	r.read = func(_ context.Context, user int32) (Reading, error) {
		n := epoch.Load()
		return Reading{Epoch: n, Found: true, Summary: Summary{UserID: user, Transactions: n}}, nil
	}
	r.get = func(ctx context.Context, user int32) (Summary, error) {
		reading, err := r.read(ctx, user)
		return reading.Summary, err
	}
	c, err := NewCache(CacheConfig{Store: r, Connect: noConnection, Entries: entries})
	require.NoError(t, err)
	return c, r, &epoch
}

func transactionsOf(t *testing.T, c *Cache, user int32) int64 {
	t.Helper()
	s, err := c.Get(t.Context(), user)
	require.NoError(t, err)
	return s.Transactions
}

// tryTransactionsOf is transactionsOf for other goroutines than the test's; -1 for an error.
func tryTransactionsOf(c *Cache, user int32) int64 {
	s, err := c.Get(context.Background(), user)
	if err != nil {
		return -1
	}
	return s.Transactions
}

func TestNewCacheNamesTheWrongField(t *testing.T) {
	t.Parallel()
	for field, config := range map[string]CacheConfig{
		"Store":   {Connect: noConnection},
		"Connect": {Store: &reader{}},
		"Entries": {Store: &reader{}, Connect: noConnection, Entries: -1},
	} {
		_, err := NewCache(config)
		assert.ErrorContains(t, err, "CacheConfig."+field)
	}
}

func TestCacheStoresNothingWithoutListener(t *testing.T) {
	t.Parallel()
	c, r, epoch := faked(t, 0)
	assert.Equal(t, int64(10), transactionsOf(t, c, 7))
	epoch.Store(11)
	assert.Equal(t, int64(11), transactionsOf(t, c, 7))
	assert.Equal(t, int64(2), r.gets.Load())
	assert.Equal(t, CacheStats{Past: 2}, c.Stats())
}

func TestCacheIsEmptyWhenActivatedAgain(t *testing.T) {
	t.Parallel()
	c, r, epoch := faked(t, 0)
	c.activate(10)
	assert.Equal(t, int64(10), transactionsOf(t, c, 7))
	assert.Equal(t, int64(10), transactionsOf(t, c, 7))
	assert.Equal(t, int64(1), r.reads.Load(), "the second one from memory")
	c.deactivate()
	epoch.Store(11) // whose announcement is lost
	assert.Equal(t, int64(11), transactionsOf(t, c, 7))
	c.activate(11)
	assert.Equal(t, int64(11), transactionsOf(t, c, 7))
	// Even at the same epoch: it may be another server's after a failover.
	c.deactivate()
	c.activate(10)
	reads := r.reads.Load()
	transactionsOf(t, c, 7)
	assert.Equal(t, reads+1, r.reads.Load())
}

func TestAnnouncementsDropOlderEntries(t *testing.T) {
	t.Parallel()
	c, r, epoch := faked(t, 0)
	s := c.activate(10)
	for _, user := range []int32{7, 8, 9} {
		transactionsOf(t, c, user)
	}
	epoch.Store(11)
	assert.Equal(t, int64(10), transactionsOf(t, c, 7), "not applied yet")
	c.apply(s, announcement{epoch: 11, users: []int32{7, 9}})
	assert.Equal(t, int64(11), transactionsOf(t, c, 7))
	assert.Equal(t, int64(10), transactionsOf(t, c, 8), "not changed, and so kept")
	assert.Equal(t, int64(11), transactionsOf(t, c, 9))
	assert.Equal(t, int64(5), r.reads.Load())
	epoch.Store(12)
	c.apply(s, announcement{epoch: 12})
	for _, user := range []int32{7, 8, 9} {
		assert.Equal(t, int64(12), transactionsOf(t, c, user))
	}
	// Its own reading may run ahead of an announcement.
	epoch.Store(13)
	c.apply(s, announcement{epoch: 13, users: []int32{8}})
	transactionsOf(t, c, 8)
	reads := r.reads.Load()
	c.apply(s, announcement{epoch: 13, users: []int32{8}})
	transactionsOf(t, c, 8)
	assert.Equal(t, reads, r.reads.Load(), "it had the commit in it")
}

// A commit is applied after a reading has begun and before it is stored.
func TestReadingOlderThanACommitIsNotStored(t *testing.T) {
	t.Parallel()
	for name, users := range map[string][]int32{"named": {7}, "all": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, r, epoch := faked(t, 0)
			s := c.activate(10)
			read, begun, goOn := r.read, make(chan struct{}), make(chan struct{})
			var once sync.Once
			r.read = func(ctx context.Context, user int32) (Reading, error) {
				reading, err := read(ctx, user)
				once.Do(func() {
					close(begun)
					<-goOn
				})
				return reading, err
			}
			early := make(chan int64)
			go func() { early <- tryTransactionsOf(c, 7) }()
			<-begun
			epoch.Store(11)
			c.apply(s, announcement{epoch: 11, users: users})

			// A later caller does not share a reading from before the commit.
			late := make(chan int64)
			joined := make(chan struct{})
			go func() {
				close(joined)
				late <- tryTransactionsOf(c, 7)
			}()
			<-joined
			close(goOn)
			assert.Equal(t, int64(10), <-early, "it asked before the commit")
			assert.Equal(t, int64(11), <-late)
			assert.Equal(t, int64(11), transactionsOf(t, c, 7))
		})
	}
}

// A caller joins a reading that began before the last applied commit.
func TestSharedReadingIsNotOlderThanTheCaller(t *testing.T) {
	t.Parallel()
	c, r, epoch := faked(t, 0)
	s := c.activate(10)
	read := r.read
	first := true
	r.read = func(ctx context.Context, user int32) (Reading, error) {
		reading, err := read(ctx, user)
		if first { // by the time the flight ends, another caller would have joined it
			first = false
			reading.Epoch, reading.Summary.Transactions = 9, 9
		}
		return reading, err
	}
	epoch.Store(10)
	c.apply(s, announcement{epoch: 10, users: []int32{1}})
	assert.Equal(t, int64(10), transactionsOf(t, c, 7))
	assert.Equal(t, int64(2), r.reads.Load())
}

func TestReadingOfALaggingReplicaIsNotStored(t *testing.T) {
	t.Parallel()
	c, r, epoch := faked(t, 0)
	s := c.activate(10)
	transactionsOf(t, c, 7)
	c.apply(s, announcement{epoch: 12, users: []int32{7}})
	for range 3 {
		assert.Equal(t, int64(10), transactionsOf(t, c, 7), "the replica's answer")
	}
	assert.Equal(t, int64(7), r.reads.Load(), "asked for twice each time, kept never")
	epoch.Store(11)
	transactionsOf(t, c, 7)
	reads := r.reads.Load()
	epoch.Store(12)
	assert.Equal(t, int64(12), transactionsOf(t, c, 7))
	assert.Equal(t, int64(12), transactionsOf(t, c, 7))
	assert.Equal(t, reads+1, r.reads.Load(), "caught up, it fills")
}

func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	c, _, _ := faked(t, 100)
	c.activate(10)
	for user := range int32(10_000) {
		transactionsOf(t, c, user+1)
	}
	c.entries.CleanUp()
	assert.LessOrEqual(t, c.Stats().Entries, 100)
	assert.Positive(t, c.Stats().Entries)
}

func TestConcurrentCallersShareARead(t *testing.T) {
	t.Parallel()
	c, r, _ := faked(t, 0)
	c.activate(10)
	read, begun, goOn := r.read, make(chan struct{}), make(chan struct{})
	var once sync.Once
	r.read = func(ctx context.Context, user int32) (Reading, error) {
		once.Do(func() { close(begun) })
		<-goOn
		assert.NoError(t, ctx.Err(), "the first caller has gone, the others have not")
		return read(ctx, user)
	}
	gone, leave := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		_, err := c.Get(gone, 7)
		left <- err
	}()
	<-begun
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() { assert.Equal(t, int64(10), tryTransactionsOf(c, 7)) })
	}
	leave()
	require.ErrorIs(t, <-left, context.Canceled)
	close(goOn)
	group.Wait()
	assert.Equal(t, int64(1), r.reads.Load())
}

// A shared reading is read without the minimum epoch of its first caller, which reads again if the
// result is too old for it.
func TestSharedReadingHasNoMinimum(t *testing.T) {
	t.Parallel()
	c, r, _ := faked(t, 0)
	c.activate(10)
	read := r.read
	var minimums []int64
	old := errors.New("no server has that epoch")
	r.read = func(ctx context.Context, user int32) (Reading, error) {
		minimums = append(minimums, replica.MinEpoch(ctx))
		if replica.MinEpoch(ctx) > 10 {
			return Reading{}, old
		}
		return read(ctx, user)
	}
	r.top = func(ctx context.Context, _ Order) (TopReading, error) {
		reading, err := r.read(ctx, 7)
		return TopReading{Epoch: reading.Epoch}, err
	}
	ctx := replica.With(t.Context(), &replica.Request{MinEpoch: 11})
	_, err := c.Look(ctx, 7, 11)
	require.ErrorIs(t, err, old)
	_, err = c.LookTop(ctx, ByAmount, 11)
	require.ErrorIs(t, err, old)
	assert.Equal(t, []int64{0, 11, 0, 11}, minimums)
}

func TestErrorsAreNotStored(t *testing.T) {
	t.Parallel()
	c, r, _ := faked(t, 0)
	c.activate(10)
	read := r.read
	broken := errors.New("broken")
	r.read = func(context.Context, int32) (Reading, error) { return Reading{}, broken }
	_, err := c.Get(t.Context(), 7)
	require.ErrorIs(t, err, broken)
	r.read = read
	assert.Equal(t, int64(10), transactionsOf(t, c, 7))
}

func TestParseAnnouncement(t *testing.T) {
	t.Parallel()
	for payload, want := range map[string]announcement{
		"12 5 *":            {epoch: 12, file: 5},
		"12 0 7":            {epoch: 12, users: []int32{7}},
		"12 5 7,2147483647": {epoch: 12, file: 5, users: []int32{7, 2147483647}},
	} {
		got, err := parseAnnouncement(payload)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	for _, payload := range []string{"", "*", "12", "12 5", "12 5 ", "12 x *", "12 5 7,", "12 5 2147483648"} {
		_, err := parseAnnouncement(payload)
		assert.Error(t, err, payload)
	}
}

// live is a cache on a database of its own, whose listener listens.
func live(t *testing.T) (*Cache, *reader, *pgxpool.Pool) {
	t.Helper()
	pool := testdb.New(t, migrations.Schema{})
	store := NewStore(pool)
	r := &reader{get: store.Get, read: store.Read}
	c, err := NewCache(CacheConfig{Store: r, Connect: func(ctx context.Context) (*pgx.Conn, error) {
		if r.blocked.Load() {
			return noConnection(ctx)
		}
		config := pool.Config().ConnConfig.Copy()
		config.RuntimeParams["application_name"] = "listener"
		return pgx.ConnectConfig(ctx, config)
	}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.Listen(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	listens(t, c, true)
	return c, r, pool
}

func listens(t *testing.T, c *Cache, want bool) {
	t.Helper()
	require.Eventually(t, func() bool { return c.Stats().Listening == want }, testdb.Patience, time.Millisecond)
}

// commit changes users' summaries as a load does.
func commit(t *testing.T, pool *pgxpool.Pool, file int64, users ...int32) {
	t.Helper()
	require.NoError(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error { return move(t.Context(), tx, file, users...) }))
}

func move(ctx context.Context, tx pgx.Tx, file int64, users ...int32) error {
	if _, err := tx.Exec(ctx, "SET LOCAL tally.writer = 'tally'"); err != nil {
		return err
	}
	d := NewDeltas(ctx)
	defer d.Close()
	for _, user := range users {
		if err := d.Add(user, 19_000, money.NewSum(1, 0)); err != nil {
			return err
		}
	}
	_, err := Refresh(ctx, tx, d, file)
	return err
}

// applied waits until the cache has applied everything that is committed now: until
// its mark is the database's.
func applied(t *testing.T, c *Cache, pool *pgxpool.Pool) {
	t.Helper()
	var epoch int64
	require.NoError(t, pool.QueryRow(t.Context(), "SELECT epoch FROM summary_epoch").Scan(&epoch))
	require.Eventually(t, func() bool {
		s := c.session.Load()
		return s != nil && s.dropped.Load() == epoch
	}, testdb.Patience, time.Millisecond, "a commit that is never announced")
}

func TestCacheAppliesEveryCommit(t *testing.T) {
	t.Parallel()
	c, r, pool := live(t)
	_, err := c.Get(t.Context(), 7)
	require.ErrorIs(t, err, ErrNotFound)
	_, err = c.Get(t.Context(), 7)
	require.ErrorIs(t, err, ErrNotFound)
	assert.Equal(t, int64(1), r.reads.Load(), "that there is none is remembered")

	commit(t, pool, 1, 7, 8)
	applied(t, c, pool)
	assert.Equal(t, int64(1), transactionsOf(t, c, 7), "and dropped when the user appears")
	assert.Equal(t, int64(1), transactionsOf(t, c, 8))
	reads := r.reads.Load()
	commit(t, pool, 2, 8)
	applied(t, c, pool)
	assert.Equal(t, int64(1), transactionsOf(t, c, 7))
	assert.Equal(t, reads, r.reads.Load(), "not named, and so kept")
	s, err := c.Get(t.Context(), 8)
	require.NoError(t, err)
	assert.Equal(t, int64(2), s.Transactions)
	assert.Equal(t, int64(2), s.FileID)

	many := []int32{8}
	for user := int32(2_147_483_647); len(many) < 3*maxNamedUsers; user-- {
		many = append(many, user)
	}
	for _, n := range []int{maxNamedUsers, maxNamedUsers + 1, len(many)} { // the longest notification, and those that say all
		before := transactionsOf(t, c, 8)
		commit(t, pool, 3, many[:n]...)
		applied(t, c, pool)
		assert.Equal(t, before+1, transactionsOf(t, c, 8))
	}
	// A rolled-back load announces nothing.
	undone := errors.New("undone")
	require.ErrorIs(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		return errors.Join(move(t.Context(), tx, 4, 8), undone)
	}), undone)
	reads = r.reads.Load()
	applied(t, c, pool)
	transactionsOf(t, c, 8)
	assert.Equal(t, reads, r.reads.Load())
}

func TestCacheAppliesManualWrites(t *testing.T) {
	t.Parallel()
	testdb.SkipOnCluster(t, "distributed tables have no triggers")
	c, _, pool := live(t)
	commit(t, pool, 1, 7)
	applied(t, c, pool)
	assert.Equal(t, int64(1), transactionsOf(t, c, 7))
	for _, statement := range []string{
		"UPDATE user_summary SET total_amount = 55 WHERE user_id = 7",
		"DELETE FROM user_summary WHERE user_id = 7",
		"INSERT INTO user_summary (user_id, total_transactions, total_amount, file_id) VALUES (7, 5, 55, 1)",
		"TRUNCATE user_summary",
		"INSERT INTO user_summary (user_id, total_transactions, total_amount, file_id) VALUES (8, 5, 55, 1); INSERT INTO user_summary (user_id, total_transactions, total_amount, file_id) VALUES (7, 5, 55, 1)",
	} {
		_, _ = c.Get(t.Context(), 7)
		require.NoError(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), "SET LOCAL tally.writer = 'tally'; "+statement, pgx.QueryExecModeSimpleProtocol)
			return err
		}))
		applied(t, c, pool)
		want, wantErr := NewStore(pool).Get(t.Context(), 7)
		got, gotErr := c.Get(t.Context(), 7)
		assert.Equal(t, want, got, statement)
		assert.Equal(t, wantErr, gotErr, statement)
	}
	_, err := pool.Exec(t.Context(), "UPDATE summary_epoch SET epoch = 0")
	assert.Error(t, err, "only the trigger counts")
}

// A commit that changes other data, such as a load whose rows are all rejected, drops nothing:
// what is kept has then survived it.
func TestOtherCommitsAreCounted(t *testing.T) {
	t.Parallel()
	c, r, pool := live(t)
	commit(t, pool, 1, 7)
	applied(t, c, pool)
	before, err := c.Look(t.Context(), 7, 0)
	require.NoError(t, err)
	_, err = pool.Exec(t.Context(), "INSERT INTO audit_chain VALUES (1, now(), 'load', 1, '', sha256(''))")
	require.NoError(t, err)
	applied(t, c, pool)
	reads := r.reads.Load()
	after, err := c.Look(t.Context(), 7, before.Epoch+1)
	require.NoError(t, err)
	assert.Equal(t, before.Epoch+1, after.Epoch)
	assert.Equal(t, reads, r.reads.Load(), "from memory")
	_, err = c.Look(t.Context(), 7, after.Epoch+1)
	require.NoError(t, err)
	assert.Equal(t, reads+2, r.reads.Load(), "past it")
	var summaries int64
	require.NoError(t, pool.QueryRow(t.Context(), "SELECT summaries FROM summary_epoch").Scan(&summaries))
	assert.Equal(t, before.Epoch, summaries)
}

func TestCacheReconnectsItsListener(t *testing.T) {
	t.Parallel()
	c, r, pool := live(t)
	commit(t, pool, 1, 7)
	applied(t, c, pool)
	assert.Equal(t, int64(1), transactionsOf(t, c, 7))

	// The listener is killed and cannot reconnect: a commit is missed.
	r.blocked.Store(true)
	_, err := pool.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'listener' AND datname = current_database()")
	require.NoError(t, err)
	listens(t, c, false)
	reads := r.reads.Load()
	assert.Equal(t, int64(1), transactionsOf(t, c, 7))
	commit(t, pool, 2, 7)
	assert.Equal(t, int64(2), transactionsOf(t, c, 7), "from the database, at once")
	assert.Equal(t, reads, r.reads.Load(), "and nothing is kept")
	r.blocked.Store(false)
	listens(t, c, true)
	assert.Equal(t, int64(2), transactionsOf(t, c, 7))
	commit(t, pool, 3, 7)
	applied(t, c, pool)
	assert.Equal(t, int64(3), transactionsOf(t, c, 7))
}

// A pooler gives LISTEN to some session and the next statement to another one.
func TestPoolerIsRejected(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t, migrations.Schema{})
	c, err := NewCache(CacheConfig{Store: NewStore(pool), Connect: func(ctx context.Context) (*pgx.Conn, error) {
		conn, err := pgx.ConnectConfig(ctx, pool.Config().ConnConfig.Copy())
		if err == nil { // what the client is told is the pooler's own number
			_, err = conn.Exec(ctx, "CREATE SCHEMA pooler; CREATE FUNCTION pooler.pg_backend_pid() RETURNS INT LANGUAGE sql AS 'SELECT 1'; SET search_path = pooler, pg_catalog, public",
				pgx.QueryExecModeSimpleProtocol)
		}
		return conn, err
	}})
	require.NoError(t, err)
	_, _, err = c.subscribe(t.Context())
	require.ErrorIs(t, err, errPooler)
}

func TestCacheAndStoreGiveTheSameSummary(t *testing.T) {
	t.Parallel()
	c, _, pool := live(t)
	commit(t, pool, 1, 7)
	applied(t, c, pool)
	read, err := c.Get(t.Context(), 7)
	require.NoError(t, err)
	kept, err := c.Get(t.Context(), 7)
	require.NoError(t, err)
	got, err := NewStore(pool).Get(t.Context(), 7)
	require.NoError(t, err)
	assert.Equal(t, got, read)
	require.NotNil(t, kept.Memo)
	kept.Memo = nil
	assert.Equal(t, got, kept)
	assert.Equal(t, money.NewSum(1, 0), got.Total)
}
