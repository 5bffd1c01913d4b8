package bench

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/opentax/tally/internal/money"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/postgres"
)

// bouncer is a pgbouncer in front of the server; without the program the benchmark is
// skipped.
func (s *speakers) bouncer(b *testing.B) *bouncer {
	b.Helper()
	if bouncerPath() == "" {
		b.Skip("pgbouncer is not installed")
	}
	return newBouncer(b, serverOwner(b, s.admin), s.url, bouncerPool)
}

// carriesPrepared is 1 where clients that prepare their statement are answered through
// pgbouncer, and 0 where the server says that it does not know a statement, or knows
// it already: that of another client on the same connection.
func (s *speakers) carriesPrepared(b *testing.B, through *bouncer) float64 {
	b.Helper()
	asking := newAsking(b, s.users)
	for range connections {
		conn, err := pgx.Connect(b.Context(), through.url)
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = conn.Close(context.Background()) }()
		asking.Go(func() {
			asking.ask(b.Context(), func(ctx context.Context, user int32) (n int64, total money.Sum, err error) {
				err = conn.QueryRow(ctx, lookUpQuery, pgx.QueryExecModeCacheStatement, user).Scan(&n, &total)
				return n, total, err
			}, manyAsks)
		})
	}
	asking.Wait()
	if len(asking.failed) > 0 {
		err := asking.failed[0]
		unknown, twice := "26000", "42P05" // invalid_sql_statement_name, duplicate_prepared_statement
		if state := postgres.State(err); state != unknown && state != twice {
			b.Fatal(err)
		}
		b.Logf("through pgbouncer %v: %v", through.version(), err)
		return 0
	}
	return 1
}

// many connects so many clients that keep their connection, and ask all at once: to
// the server, and through pgbouncer. Metrics: connect-s for all of them, 32 at a time;
// per-s and p99-ms of their look-ups; MiB that the server's backends for them hold,
// and pgbouncer where it is in between; KiB-per-backend.
func (s *speakers) many(b *testing.B, clients int) {
	ways := []*crowd{{name: "direct", url: s.url}}
	if path := bouncerPath(); path != "" {
		through := newBouncer(b, serverOwner(b, s.admin), s.url, bouncerPool)
		ways = append(ways, &crowd{name: "pgbouncer", url: through.url, between: through.program})
	} else {
		b.Log("pgbouncer is not installed: the clients connect to the server alone")
	}
	b.ResetTimer()
	for range b.N {
		for _, c := range ways {
			s.crowd(b, c, clients)
		}
	}
	b.StopTimer()
	for _, c := range ways {
		slices.Sort(c.ms)
		b.ReportMetric(median(c.connect), "connect-s/"+c.name)
		b.ReportMetric(median(c.rates), "per-s/"+c.name)
		b.ReportMetric(quantile(c.ms, 99), "p99-ms/"+c.name)
		if len(c.mib) > 0 {
			b.ReportMetric(median(c.mib), "MiB/"+c.name)
			b.ReportMetric(median(c.backend), "KiB-per-backend/"+c.name)
		}
	}
}

// crowd is many clients of one address.
type crowd struct {
	name, url string
	between   *program // nil: nothing

	connect, rates, ms []float64
	mib, backend       []float64 // none where memory cannot be known
}

func (s *speakers) crowd(b *testing.B, c *crowd, clients int) {
	b.Helper()
	began := time.Now()
	conns := connectAll(b, c.url, clients)
	defer func() {
		for _, conn := range conns {
			_ = conn.Close(context.Background())
		}
	}()
	c.connect = append(c.connect, time.Since(began).Seconds())
	asking := newAsking(b, s.users)
	began = time.Now()
	for _, conn := range conns {
		asking.Go(func() {
			asking.ask(b.Context(), func(ctx context.Context, user int32) (n int64, total money.Sum, err error) {
				err = conn.QueryRow(ctx, lookUpQuery, pgx.QueryExecModeExec, user).Scan(&n, &total)
				return n, total, err
			}, manyAsks)
		})
	}
	asking.Wait()
	c.rates = append(c.rates, float64(clients*manyAsks)/time.Since(began).Seconds())
	c.ms = append(c.ms, asking.ms...)
	for _, err := range asking.failed {
		b.Fatal(c.name, err)
	}
	s.weigh(b, c)
}

// connectAll connects clients, 32 at a time.
func connectAll(b *testing.B, location string, clients int) []*pgx.Conn {
	b.Helper()
	config, err := pgx.ParseConfig(location)
	if err != nil {
		b.Fatal(err)
	}
	config.RuntimeParams["application_name"] = crowdName
	conns, connecting := make([]*pgx.Conn, clients), newAsking(b, 1)
	for first := range connections {
		connecting.Go(func() {
			for i := first; i < clients; i += connections {
				conn, err := pgx.ConnectConfig(b.Context(), config)
				if err != nil {
					connecting.fail(err)
					return
				}
				conns[i] = conn
			}
		})
	}
	connecting.Wait()
	for _, err := range connecting.failed {
		b.Fatal(err)
	}
	return conns
}

// crowdName is the application_name by which the server knows a crowd's backends.
const crowdName = "tally-crowd"

func (a *asking) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failed = append(a.failed, err)
}

// weigh adds up the memory of the backends that serve a crowd.
func (s *speakers) weigh(b *testing.B, c *crowd) {
	b.Helper()
	rows, err := s.admin.Query(b.Context(), "SELECT pid FROM pg_stat_activity WHERE application_name = $1", crowdName)
	if err != nil {
		b.Fatal(err)
	}
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil || len(pids) == 0 {
		b.Fatal("no backends", err)
	}
	total := 0.0
	for _, pid := range pids {
		kib, ok := heldKiB(pid)
		if !ok {
			return
		}
		total += kib
	}
	c.backend = append(c.backend, total/float64(len(pids)))
	if c.between != nil {
		kib, ok := heldKiB(c.between.pid)
		if !ok {
			return
		}
		total += kib
	}
	c.mib = append(c.mib, total/1024)
}
