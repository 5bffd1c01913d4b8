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
	// lookers ask a server for summaries again and again.
	lookers = 2
	// reporters keep a snapshot on the replica, for reportTakes from a vacuum on.
	reporters   = 4
	reportTakes = 300 * time.Millisecond
)

// looking is clients that look users up until they are told to leave.
type looking struct {
	sync.WaitGroup
	done  chan struct{}
	began time.Time

	mu   sync.Mutex
	n    int
	seen map[int32]map[string]struct{} // what each user's summary was said to be
	err  error
}

func keepLooking(ctx context.Context, pool *pgxpool.Pool, users []int32) *looking {
	l := &looking{done: make(chan struct{}), began: time.Now(), seen: map[int32]map[string]struct{}{}}
	store := summaries.NewStore(pool)
	for first := range lookers {
		l.Go(func() {
			for k := first; ; k++ {
				user := users[k%len(users)]
				said, err := counted(ctx, store, user)
				if !l.note(user, said, err) {
					return
				}
			}
		})
	}
	return l
}

// note says whether to go on.
func (l *looking) note(user int32, said string, err error) bool {
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
	l.seen[user][said] = struct{}{}
	select {
	case <-l.done:
		return false
	default:
		return true
	}
}

// leave gives the look-ups a second. Each answer has to be one that its user has had.
func (l *looking) leave(b *testing.B, before, after map[int32]string) float64 {
	b.Helper()
	close(l.done)
	took := time.Since(l.began)
	l.Wait()
	if l.err != nil || l.n == 0 {
		b.Fatalf("after %d look-ups: %v", l.n, l.err)
	}
	for user, all := range l.seen {
		for said := range all {
			if said != before[user] && said != after[user] {
				b.Errorf("user %d: %s is neither %s nor %s", user, said, before[user], after[user])
			}
		}
	}
	return float64(l.n) / took.Seconds()
}

func counted(ctx context.Context, store *summaries.Store, user int32) (string, error) {
	s, err := store.Get(ctx, user)
	return fmt.Sprintf("%d and %s", s.Transactions, s.Total), err
}

// summariesOf are what users have now.
func summariesOf(b *testing.B, pool *pgxpool.Pool, users []int32) map[int32]string {
	b.Helper()
	all, store := map[int32]string{}, summaries.NewStore(pool)
	for _, user := range users {
		said, err := counted(b.Context(), store, user)
		if err != nil {
			b.Fatal(err)
		}
		all[user] = said
	}
	return all
}

// reporting is clients that have a report open each, until they are told to end it.
type reporting struct {
	reports sync.WaitGroup
	gate    *pgxpool.Conn // has the lock that reports wait for

	mu        sync.Mutex
	cancelled int
	err       error
}

// gateKey is the advisory lock that a report waits for.
const gateKey = 1

// openReports returns when every report has its snapshot.
func openReports(b *testing.B, pool *pgxpool.Pool) *reporting {
	b.Helper()
	r := &reporting{}
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
			r.note(makeReport(b.Context(), pool, seen))
		})
	}
	begun.Wait()
	return r
}

// makeReport sums all summaries twice, and insists that nothing has moved in between.
func makeReport(ctx context.Context, pool *pgxpool.Pool, seen func()) error {
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
			err = fmt.Errorf("the sum moved from %s to %s", first, second)
		}
		return err
	})
}

func (r *reporting) note(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if postgres.State(err) == "40001" { // a conflict with recovery
		r.cancelled++
	} else if err != nil {
		r.err = err
	}
}

// end lets the reports end, after a while.
func (r *reporting) end(b *testing.B, after time.Duration) (cancelled int) {
	b.Helper()
	time.Sleep(after)
	_, err := r.gate.Exec(b.Context(), "SELECT pg_advisory_unlock($1)", int64(gateKey))
	r.reports.Wait()
	r.gate.Release()
	if err != nil || r.err != nil {
		b.Error("reports:", err, r.err)
	}
	return r.cancelled
}
