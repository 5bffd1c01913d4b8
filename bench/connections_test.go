package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/opentax/tally/internal/money"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/uptrace/bun"

	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/internal/testdb"
)

const (
	// connectCost is the approximate cost of a connection in look-ups.
	connectCost = 20
	// bouncerPool is the size of pgbouncer's pool, the same as of Tally's.
	bouncerPool = 16
	// lookupsPerClient is the number of look-ups per client and turn with many clients.
	lookupsPerClient = 10
)

// BenchmarkConnections looks up summaries in PostgreSQL over TCP with 32 concurrent
// clients: in the query modes of pgx and bun, with several pool sizes, with a connection
// per look-up, and through pgbouncer in transaction mode. The methods alternate, and
// every answer is checked. An operation is a turn of -rows/10 look-ups per method, at
// most 10,000. Clients, pgbouncer and server share the machine.
//
// Metrics: per-s; p99-ms, which includes the wait for a connection of the pool; and
// of-prepared, the look-ups per second relative to the first method of the same turn,
// prepared statements on 32 connections.
func BenchmarkConnections(b *testing.B) {
	n := sizes()[len(sizes())-1]
	s := newConnections(b, n)
	b.Run("speaking", func(b *testing.B) { s.alternate(b, s.queryModes(b)) })
	b.Run("pool", func(b *testing.B) {
		methods := []*lookupMethod{s.prepared()}
		for size := int32(1); size <= 64; size *= 2 {
			methods = append(methods, &lookupMethod{name: fmt.Sprint("pool-", size), lookup: pooled(s.pool(b, s.url, size), pgx.QueryExecModeCacheStatement)})
		}
		s.alternate(b, methods)
	})
	b.Run("pgbouncer", func(b *testing.B) {
		through := testdb.NewBouncer(b, s.url, bouncerPool)
		pool := s.pool(b, through.URL, connections)
		methods := []*lookupMethod{
			s.prepared(),
			{name: "exec", lookup: pooled(s.direct, pgx.QueryExecModeExec)},
			{name: "pgbouncer-exec", lookup: pooled(pool, pgx.QueryExecModeExec)},
			{name: "pgbouncer-describe", lookup: pooled(pool, pgx.QueryExecModeCacheDescribe)},
			{name: "pgbouncer-connect-each", lookup: connectEach(b, through.URL), divisor: connectCost},
		}
		supported := s.supportsPrepared(b, through)
		if supported == 1 {
			methods = append(methods, &lookupMethod{name: "pgbouncer-prepared", lookup: pooled(pool, pgx.QueryExecModeCacheStatement)})
		}
		s.alternate(b, methods)
		b.ReportMetric(supported, "prepared-works/pgbouncer")
		b.ReportMetric(through.Version, "pgbouncer-version")
	})
	clients := int(min(1000, n/200))
	b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) { s.many(b, clients) })
}

// lookupFunc looks up the summary of a user.
type lookupFunc func(context.Context, int32) (transactions int64, total money.Sum, err error)

// lookupMethod is a method to look up summaries, and its results.
type lookupMethod struct {
	name    string
	lookup  lookupFunc
	divisor int // divides the number of look-ups of a slow method

	rates, shares []float64 // of each turn
	ms            []float64 // of all look-ups
}

// connectionStudy is a server that listens on TCP.
type connectionStudy struct {
	server  *server
	admin   *pgxpool.Pool
	url     string        // over TCP
	direct  *pgxpool.Pool // 32 connections over TCP
	users   int64
	lookups int // per method and turn
}

func newConnections(b *testing.B, rows int64) *connectionStudy {
	b.Helper()
	port := freePort(b)
	s := &connectionStudy{users: rows / 10, lookups: int(min(10_000, rows/10))}
	s.server = &server{Server: testdb.Own(b, map[string]string{
		"listen_addresses": "127.0.0.1", "port": fmt.Sprint(port), "max_connections": "1200", "autovacuum": "off",
	})}
	var runID int64
	s.admin, runID = s.server.tally(b)
	fillSummaries(b, s.admin, runID, s.users)
	u, err := url.Parse(s.server.URL())
	if err != nil {
		b.Fatal(err)
	}
	u.Host, u.Path, u.RawQuery = fmt.Sprint("127.0.0.1:", port), "/"+s.admin.Config().ConnConfig.Database, "sslmode=disable"
	s.url = u.String()
	s.direct = s.pool(b, s.url, connections)
	return s
}

func (s *connectionStudy) prepared() *lookupMethod {
	return &lookupMethod{name: "prepared", lookup: pooled(s.direct, pgx.QueryExecModeCacheStatement)}
}

func (s *connectionStudy) queryModes(b *testing.B) []*lookupMethod {
	b.Helper()
	cached := s.direct.Config()
	cached.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement // the default of pgx
	preparing, err := pgxpool.NewWithConfig(b.Context(), cached)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(preparing.Close)
	openAll(b, preparing)
	return []*lookupMethod{
		s.prepared(),
		{name: "describe-cached", lookup: pooled(s.direct, pgx.QueryExecModeCacheDescribe)},
		{name: "describe-exec", lookup: pooled(s.direct, pgx.QueryExecModeDescribeExec)},
		{name: "exec", lookup: pooled(s.direct, pgx.QueryExecModeExec)},
		{name: "simple", lookup: pooled(s.direct, pgx.QueryExecModeSimpleProtocol)},
		{name: "bun", lookup: viaBun(postgres.Bun(s.direct))},
		{name: "bun-preparing", lookup: viaBun(postgres.Bun(preparing))},
		{name: "connect-each", lookup: connectEach(b, s.url), divisor: connectCost},
	}
}

func (s *connectionStudy) pool(b *testing.B, location string, size int32) *pgxpool.Pool {
	b.Helper()
	pool, err := postgres.Open(b.Context(), postgres.Config{URL: location, MaxConns: size})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(pool.Close)
	openAll(b, pool)
	return pool
}

// openAll opens all connections of a pool, so that none is opened while clients are
// timed.
func openAll(b *testing.B, pool *pgxpool.Pool) {
	b.Helper()
	for range pool.Config().MaxConns {
		conn, err := pool.Acquire(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Release()
	}
}

const lookupQuery = "SELECT total_transactions, total_amount FROM user_summary WHERE user_id = $1"

func pooled(pool *pgxpool.Pool, mode pgx.QueryExecMode) lookupFunc {
	return func(ctx context.Context, user int32) (n int64, total money.Sum, err error) {
		err = pool.QueryRow(ctx, lookupQuery, mode, user).Scan(&n, &total)
		return n, total, err
	}
}

func viaBun(db *bun.DB) lookupFunc {
	return func(ctx context.Context, user int32) (n int64, total money.Sum, err error) {
		err = db.NewSelect().Table("user_summary").Column("total_transactions", "total_amount").Where("user_id = ?", user).Scan(ctx, &n, &total)
		return n, total, err
	}
}

// connectEach opens and closes a connection for each look-up.
func connectEach(b *testing.B, location string) lookupFunc {
	b.Helper()
	config, err := pgx.ParseConfig(location)
	if err != nil {
		b.Fatal(err)
	}
	return func(ctx context.Context, user int32) (n int64, total money.Sum, err error) {
		conn, err := pgx.ConnectConfig(ctx, config)
		if err != nil {
			return 0, total, err
		}
		defer func() { _ = conn.Close(ctx) }()
		err = conn.QueryRow(ctx, lookupQuery, pgx.QueryExecModeExec, user).Scan(&n, &total)
		return n, total, err
	}
}

// alternate runs the methods alternately, after a run of each that is not timed.
func (s *connectionStudy) alternate(b *testing.B, methods []*lookupMethod) {
	b.Helper()
	for _, m := range methods {
		s.run(b, m, s.lookups/10)
		m.ms = nil
	}
	b.ResetTimer()
	for range b.N {
		for _, m := range methods {
			rate := s.run(b, m, s.lookups)
			m.rates = append(m.rates, rate)
			m.shares = append(m.shares, rate/methods[0].rates[len(methods[0].rates)-1])
		}
	}
	b.StopTimer()
	for _, m := range methods {
		slices.Sort(m.ms)
		b.ReportMetric(median(m.rates), "per-s/"+m.name)
		b.ReportMetric(median(m.shares), "of-prepared/"+m.name)
		b.ReportMetric(quantile(m.ms, 99), "p99-ms/"+m.name)
	}
}

// run does n look-ups with all clients, and returns the look-ups per second.
func (s *connectionStudy) run(b *testing.B, m *lookupMethod, n int) float64 {
	b.Helper()
	if m.divisor > 0 {
		n = max(connections, n/m.divisor)
	}
	each := max(1, n/connections)
	group := newClientGroup(b, s.users)
	began := time.Now()
	for range connections {
		group.Go(func() { group.run(b.Context(), m.lookup, each) })
	}
	group.Wait()
	took := time.Since(began)
	for _, err := range group.failed {
		b.Fatal(m.name, err)
	}
	m.ms = append(m.ms, group.ms...)
	return float64(each*connections) / took.Seconds()
}

// clientGroup is a group of concurrent clients.
type clientGroup struct {
	sync.WaitGroup
	users int64

	mu     sync.Mutex
	ms     []float64
	failed []error
}

func newClientGroup(b *testing.B, users int64) *clientGroup {
	b.Helper()
	return &clientGroup{users: users}
}

// run is one client. It does n look-ups and stops at the first error.
func (g *clientGroup) run(ctx context.Context, lookup lookupFunc, n int) {
	ms, err := make([]float64, 0, n), error(nil)
	for i := 0; i < n && err == nil; i++ {
		user := int32(1 + rand.Int64N(g.users))
		began := time.Now()
		var transactions int64
		var total money.Sum
		transactions, total, err = lookup(ctx, user)
		ms = append(ms, 1000*time.Since(began).Seconds())
		if err == nil && !rightSummary(user, transactions, total) {
			err = fmt.Errorf("user %d has %d transactions and %s", user, transactions, total)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ms = append(g.ms, ms...)
	if err != nil {
		g.failed = append(g.failed, err)
	}
}
