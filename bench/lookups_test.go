package bench

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/internal/postgres"
	"github.com/opentax/tally/summaries"
)

const (
	// storeClients is the number of concurrent clients of a server.
	storeClients = 2
	// reporters is the number of reports on the replica, which hold a snapshot until
	// reportHold after a vacuum.
	reporters  = 4
	reportHold = 300 * time.Millisecond
)

// storeLookups is a group of clients that look up summaries until they are stopped.
type storeLookups struct {
	sync.WaitGroup
	done  chan struct{}
	began time.Time

	mu   sync.Mutex
	n    int
	seen map[int32]map[string]struct{} // the summaries returned for each user
	err  error
}

func startStoreLookups(ctx context.Context, pool *pgxpool.Pool, users []int32) *storeLookups {
	l := &storeLookups{done: make(chan struct{}), began: time.Now(), seen: map[int32]map[string]struct{}{}}
	store := summaries.NewStore(pool)
	for first := range storeClients {
		l.Go(func() {
			for k := first; ; k++ {
				user := users[k%len(users)]
				summary, err := summaryText(ctx, store, user)
				if !l.record(user, summary, err) {
					return
				}
			}
		})
	}
	return l
}

// record records a result, and reports whether the client should continue.
func (l *storeLookups) record(user int32, summary string, err error) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.err = err
		return false
	}
	l.n++
	if l.seen[user] == nil {
		l.seen[user] = map[string]struct{}{}
	}
	l.seen[user][summary] = struct{}{}
	select {
	case <-l.done:
		return false
	default:
		return true
	}
}

// stop stops the clients and returns their look-ups per second. Each answer must be the
// user's summary before or after the load.
func (l *storeLookups) stop(b *testing.B, before, after map[int32]string) float64 {
	b.Helper()
	close(l.done)
	took := time.Since(l.began)
	l.Wait()
	if l.err != nil || l.n == 0 {
		b.Fatalf("after %d look-ups: %v", l.n, l.err)
	}
	for user, all := range l.seen {
		for summary := range all {
			if summary != before[user] && summary != after[user] {
				b.Errorf("user %d: %s is neither %s nor %s", user, summary, before[user], after[user])
			}
		}
	}
	return float64(l.n) / took.Seconds()
}

func summaryText(ctx context.Context, store *summaries.Store, user int32) (string, error) {
	s, err := store.Get(ctx, user)
	return fmt.Sprintf("%d and %s", s.Transactions, s.Total), err
}

// summariesOf returns the current summaries of users.
func summariesOf(b *testing.B, pool *pgxpool.Pool, users []int32) map[int32]string {
	b.Helper()
	all, store := map[int32]string{}, summaries.NewStore(pool)
	for _, user := range users {
		summary, err := summaryText(b.Context(), store, user)
		if err != nil {
			b.Fatal(err)
		}
		all[user] = summary
	}
	return all
}

// reportClients is a group of clients that each run a report until end is called.
type reportClients struct {
	reports sync.WaitGroup
	gate    *pgxpool.Conn // holds the lock that the reports wait for

	mu       sync.Mutex
	canceled int
	err      error
}

// gateKey identifies the advisory lock that the reports wait for.
const gateKey = 1

// startReports starts the reports and returns when each has its snapshot.
func startReports(b *testing.B, pool *pgxpool.Pool) *reportClients {
	b.Helper()
	r := &reportClients{}
	var err error
	if r.gate, err = pool.Acquire(b.Context()); err == nil {
		_, err = r.gate.Exec(b.Context(), "SELECT pg_advisory_lock($1)", int64(gateKey))
	}
	if err != nil {
		b.Fatal(err)
	}
	var begun sync.WaitGroup
	for range reporters {
		begun.Add(1)
		r.reports.Go(func() {
			seen := sync.OnceFunc(begun.Done)
			defer seen()
			r.record(runReport(b.Context(), pool, seen))
		})
	}
	begun.Wait()
	return r
}

// runReport sums all summaries twice in one snapshot, and checks that the sums are equal.
func runReport(ctx context.Context, pool *pgxpool.Pool, seen func()) error {
	return pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		var first, second string
		if err := tx.QueryRow(ctx, "SELECT sum(total_amount)::text FROM user_summary").Scan(&first); err != nil {
			return err
		}
		seen()
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock_shared($1)", int64(gateKey)); err != nil {
			return err
		}
		err := tx.QueryRow(ctx, "SELECT sum(total_amount)::text FROM user_summary").Scan(&second)
		if err == nil && first != second {
			err = fmt.Errorf("the sum changed from %s to %s", first, second)
		}
		return err
	})
}

func (r *reportClients) record(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if postgres.State(err) == "40001" { // a conflict with recovery
		r.canceled++
	} else if err != nil {
		r.err = err
	}
}

// end releases the reports after a delay, and returns how many were canceled.
func (r *reportClients) end(b *testing.B, after time.Duration) (canceled int) {
	b.Helper()
	time.Sleep(after)
	_, err := r.gate.Exec(b.Context(), "SELECT pg_advisory_unlock($1)", int64(gateKey))
	r.reports.Wait()
	r.gate.Release()
	if err != nil || r.err != nil {
		b.Error("reports:", err, r.err)
	}
	return r.canceled
}
