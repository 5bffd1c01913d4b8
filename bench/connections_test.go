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
	// connectCost is how many look-ups one costs, about, that connects first.
	connectCost = 20
	// bouncerPool is how many connections pgbouncer has, as many as Tally's pool.
	bouncerPool = 16
	// manyAsks is how often each of many clients asks in a turn.
	manyAsks = 10
)

// BenchmarkConnections looks summaries up straight from PostgreSQL over TCP, by 32
// clients at once: in the ways in which pgx and bun speak to it, on pools of other
// sizes, connecting for each look-up, and through pgbouncer in transaction mode. The
// ways take turns, and every answer is checked. An operation is a turn of -rows/10
// look-ups a way, 10,000 at most; clients, pgbouncer and server share the machine.
//
// Metrics: per-s; p99-ms, of what a client waits for, a connection of the pool
// included; and of-prepared, in look-ups a second of the first way of the same turn,
// which is 32 connections with the statement prepared on each.
func BenchmarkConnections(b *testing.B) {
	n := sizes()[len(sizes())-1]
	s := newConnections(b, n)
	b.Run("speaking", func(b *testing.B) { s.inTurns(b, s.speaking(b)) })
	b.Run("pool", func(b *testing.B) {
		ways := []*spoken{s.prepared()}
		for size := int32(1); size <= 64; size *= 2 {
			ways = append(ways, &spoken{name: fmt.Sprint("pool-", size), ask: pooled(s.pool(b, s.url, size), pgx.QueryExecModeCacheStatement)})
		}
		s.inTurns(b, ways)
	})
	b.Run("pgbouncer", func(b *testing.B) {
		through := s.bouncer(b)
		pool := s.pool(b, through.url, connections)
		ways := []*spoken{
			s.prepared(),
			{name: "exec", ask: pooled(s.direct, pgx.QueryExecModeExec)},
			{name: "pgbouncer-exec", ask: pooled(pool, pgx.QueryExecModeExec)},
			{name: "pgbouncer-describe", ask: pooled(pool, pgx.QueryExecModeCacheDescribe)},
			{name: "pgbouncer-connect-each", ask: connecting(b, through.url), divided: connectCost},
		}
		carried := s.carriesPrepared(b, through)
		if carried == 1 {
			ways = append(ways, &spoken{name: "pgbouncer-prepared", ask: pooled(pool, pgx.QueryExecModeCacheStatement)})
		}
		s.inTurns(b, ways)
		b.ReportMetric(carried, "prepared-works/pgbouncer")
		b.ReportMetric(through.version(), "pgbouncer-version")
	})
	clients := int(min(1000, n/200))
	b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) { s.many(b, clients) })
}

// lookUp is one look-up in some way.
type lookUp func(context.Context, int32) (transactions int64, total money.Sum, err error)

// spoken is a way to look up, and what came of it.
type spoken struct {
	name    string
	ask     lookUp
	divided int // it asks so many times less

	rates, shares []float64 // of each turn
	ms            []float64 // of all look-ups
}

// speakers is a server that answers over TCP.
type speakers struct {
	server *server
	admin  *pgxpool.Pool
	url    string        // over TCP
	direct *pgxpool.Pool // of 32 connections over TCP
	users  int64
	asks   int // of a way in a turn
}

func newConnections(b *testing.B, rows int64) *speakers {
	b.Helper()
	port := freePort(b)
	s := &speakers{users: rows / 10, asks: int(min(10_000, rows/10))}
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

func (s *speakers) prepared() *spoken {
	return &spoken{name: "prepared", ask: pooled(s.direct, pgx.QueryExecModeCacheStatement)}
}

func (s *speakers) speaking(b *testing.B) []*spoken {
	b.Helper()
	cached := s.direct.Config()
	cached.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement // pgx's own default
	preparing, err := pgxpool.NewWithConfig(b.Context(), cached)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(preparing.Close)
	openAll(b, preparing)
	return []*spoken{
		s.prepared(),
		{name: "describe-cached", ask: pooled(s.direct, pgx.QueryExecModeCacheDescribe)},
		{name: "describe-exec", ask: pooled(s.direct, pgx.QueryExecModeDescribeExec)},
		{name: "exec", ask: pooled(s.direct, pgx.QueryExecModeExec)},
		{name: "simple", ask: pooled(s.direct, pgx.QueryExecModeSimpleProtocol)},
		{name: "bun", ask: bunned(postgres.Bun(s.direct))},
		{name: "bun-preparing", ask: bunned(postgres.Bun(preparing))},
		{name: "connect-each", ask: connecting(b, s.url), divided: connectCost},
	}
}

func (s *speakers) pool(b *testing.B, location string, size int32) *pgxpool.Pool {
	b.Helper()
	pool, err := postgres.Open(b.Context(), postgres.Config{URL: location, MaxConns: size})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(pool.Close)
	openAll(b, pool)
	return pool
}

// openAll opens every connection that a pool may have: left to themselves, clients
// open some of them while they are timed.
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

const lookUpQuery = "SELECT total_transactions, total_amount FROM user_summary WHERE user_id = $1"

func pooled(pool *pgxpool.Pool, mode pgx.QueryExecMode) lookUp {
	return func(ctx context.Context, user int32) (n int64, total money.Sum, err error) {
		err = pool.QueryRow(ctx, lookUpQuery, mode, user).Scan(&n, &total)
		return n, total, err
	}
}

func bunned(db *bun.DB) lookUp {
	return func(ctx context.Context, user int32) (n int64, total money.Sum, err error) {
		err = db.NewSelect().Table("user_summary").Column("total_transactions", "total_amount").Where("user_id = ?", user).Scan(ctx, &n, &total)
		return n, total, err
	}
}

// connecting connects for each look-up, and says goodbye.
func connecting(b *testing.B, location string) lookUp {
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
		err = conn.QueryRow(ctx, lookUpQuery, pgx.QueryExecModeExec, user).Scan(&n, &total)
		return n, total, err
	}
}

// inTurns warms every way up, and times them.
func (s *speakers) inTurns(b *testing.B, ways []*spoken) {
	b.Helper()
	for _, w := range ways {
		s.round(b, w, s.asks/10)
		w.ms = nil
	}
	b.ResetTimer()
	for range b.N {
		for _, w := range ways {
			rate := s.round(b, w, s.asks)
			w.rates = append(w.rates, rate)
			w.shares = append(w.shares, rate/ways[0].rates[len(ways[0].rates)-1])
		}
	}
	b.StopTimer()
	for _, w := range ways {
		slices.Sort(w.ms)
		b.ReportMetric(median(w.rates), "per-s/"+w.name)
		b.ReportMetric(median(w.shares), "of-prepared/"+w.name)
		b.ReportMetric(quantile(w.ms, 99), "p99-ms/"+w.name)
	}
}

// round asks about n users, and gives the rate.
func (s *speakers) round(b *testing.B, w *spoken, n int) float64 {
	b.Helper()
	if w.divided > 0 {
		n = max(connections, n/w.divided)
	}
	each := max(1, n/connections)
	asking := newAsking(b, s.users)
	began := time.Now()
	for range connections {
		asking.Go(func() { asking.ask(b.Context(), w.ask, each) })
	}
	asking.Wait()
	took := time.Since(began)
	for _, err := range asking.failed {
		b.Fatal(w.name, err)
	}
	w.ms = append(w.ms, asking.ms...)
	return float64(each*connections) / took.Seconds()
}

// asking is clients that ask at the same time.
type asking struct {
	sync.WaitGroup
	users int64

	mu     sync.Mutex
	ms     []float64
	failed []error
}

func newAsking(b *testing.B, users int64) *asking {
	b.Helper()
	return &asking{users: users}
}

// ask is one client, which asks n times and gives up at the first failure.
func (a *asking) ask(ctx context.Context, look lookUp, n int) {
	ms, err := make([]float64, 0, n), error(nil)
	for i := 0; i < n && err == nil; i++ {
		user := int32(1 + rand.Int64N(a.users))
		began := time.Now()
		var transactions int64
		var total money.Sum
		transactions, total, err = look(ctx, user)
		ms = append(ms, 1000*time.Since(began).Seconds())
		if err == nil && !rightSummary(user, transactions, total) {
			err = fmt.Errorf("user %d has %d transactions and %s", user, transactions, total)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ms = append(a.ms, ms...)
	if err != nil {
		a.failed = append(a.failed, err)
	}
}
