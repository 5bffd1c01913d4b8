package bench

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/opentax/tally/internal/money"

	"github.com/jackc/pgx/v5"

	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/internal/testdb"
)

// supportsPrepared returns 1 if prepared statements work through pgbouncer. It returns 0
// if the server reports that a statement does not exist or exists already, because
// another client uses the same server connection.
func (s *connectionStudy) supportsPrepared(b *testing.B, through *testdb.Bouncer) float64 {
	b.Helper()
	group := newClientGroup(b, s.users)
	for range connections {
		conn, err := pgx.Connect(b.Context(), through.URL)
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = conn.Close(context.Background()) }()
		group.Go(func() {
			group.run(b.Context(), func(ctx context.Context, user int32) (n int64, total money.Sum, err error) {
				err = conn.QueryRow(ctx, lookupQuery, pgx.QueryExecModeCacheStatement, user).Scan(&n, &total)
				return n, total, err
			}, lookupsPerClient)
		})
	}
	group.Wait()
	if len(group.failed) > 0 {
		err := group.failed[0]
		unknown, duplicate := "26000", "42P05" // invalid_sql_statement_name, duplicate_prepared_statement
		if state := postgres.State(err); state != unknown && state != duplicate {
			b.Fatal(err)
		}
		b.Logf("through pgbouncer %v: %v", through.Version, err)
		return 0
	}
	return 1
}

// many connects clients with a persistent connection each, directly and through
// pgbouncer, and runs their look-ups concurrently. Metrics: connect-s, for all clients
// with 32 concurrent connects; per-s and p99-ms of the look-ups; MiB, the memory of
// their backends and of pgbouncer; KiB-per-backend.
func (s *connectionStudy) many(b *testing.B, clients int) {
	targets := []*clientTarget{{name: "direct", url: s.url}}
	if testdb.BouncerPath() != "" {
		through := testdb.NewBouncer(b, s.url, bouncerPool)
		targets = append(targets, &clientTarget{name: "pgbouncer", url: through.URL, pooler: through.PID})
	} else {
		b.Log("pgbouncer is not installed: the clients only connect directly")
	}
	b.ResetTimer()
	for range b.N {
		for _, t := range targets {
			s.connectMany(b, t, clients)
		}
	}
	b.StopTimer()
	for _, t := range targets {
		slices.Sort(t.ms)
		b.ReportMetric(median(t.connect), "connect-s/"+t.name)
		b.ReportMetric(median(t.rates), "per-s/"+t.name)
		b.ReportMetric(quantile(t.ms, 99), "p99-ms/"+t.name)
		if len(t.mib) > 0 {
			b.ReportMetric(median(t.mib), "MiB/"+t.name)
			b.ReportMetric(median(t.backend), "KiB-per-backend/"+t.name)
		}
	}
}

// clientTarget is an address that many clients connect to, and the results.
type clientTarget struct {
	name, url string
	pooler    int // process id; 0: none

	connect, rates, ms []float64
	mib, backend       []float64 // empty if the memory cannot be measured
}

func (s *connectionStudy) connectMany(b *testing.B, t *clientTarget, clients int) {
	b.Helper()
	began := time.Now()
	conns := connectAll(b, t.url, clients)
	defer func() {
		for _, conn := range conns {
			_ = conn.Close(context.Background())
		}
	}()
	t.connect = append(t.connect, time.Since(began).Seconds())
	group := newClientGroup(b, s.users)
	began = time.Now()
	for _, conn := range conns {
		group.Go(func() {
			group.run(b.Context(), func(ctx context.Context, user int32) (n int64, total money.Sum, err error) {
				err = conn.QueryRow(ctx, lookupQuery, pgx.QueryExecModeExec, user).Scan(&n, &total)
				return n, total, err
			}, lookupsPerClient)
		})
	}
	group.Wait()
	t.rates = append(t.rates, float64(clients*lookupsPerClient)/time.Since(began).Seconds())
	t.ms = append(t.ms, group.ms...)
	for _, err := range group.failed {
		b.Fatal(t.name, err)
	}
	s.measureMemory(b, t)
}

// connectAll connects clients, 32 concurrently.
func connectAll(b *testing.B, location string, clients int) []*pgx.Conn {
	b.Helper()
	config, err := pgx.ParseConfig(location)
	if err != nil {
		b.Fatal(err)
	}
	config.RuntimeParams["application_name"] = manyClientsName
	conns, group := make([]*pgx.Conn, clients), newClientGroup(b, 1)
	for first := range connections {
		group.Go(func() {
			for i := first; i < clients; i += connections {
				conn, err := pgx.ConnectConfig(b.Context(), config)
				if err != nil {
					group.fail(err)
					return
				}
				conns[i] = conn
			}
		})
	}
	group.Wait()
	for _, err := range group.failed {
		b.Fatal(err)
	}
	return conns
}

// manyClientsName is the application_name that identifies the clients' backends.
const manyClientsName = "tally-crowd"

func (g *clientGroup) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failed = append(g.failed, err)
}

// measureMemory measures the memory of the clients' backends and the pooler.
func (s *connectionStudy) measureMemory(b *testing.B, t *clientTarget) {
	b.Helper()
	rows, err := s.admin.Query(b.Context(), "SELECT pid FROM pg_stat_activity WHERE application_name = $1", manyClientsName)
	if err != nil {
		b.Fatal(err)
	}
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil || len(pids) == 0 {
		b.Fatal("no backends", err)
	}
	total := 0.0
	for _, pid := range pids {
		kib, ok := memoryKiB(pid)
		if !ok {
			return
		}
		total += kib
	}
	t.backend = append(t.backend, total/float64(len(pids)))
	if t.pooler != 0 {
		kib, ok := memoryKiB(t.pooler)
		if !ok {
			return
		}
		total += kib
	}
	t.mib = append(t.mib, total/1024)
}
