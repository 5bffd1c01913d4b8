package bench

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/opentax/tally/internal/money"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/internal/testdb"
	"github.com/opentax/tally/summaries"
)

// lookupsPerTable is the number of look-ups per operation in each table.
const lookupsPerTable = 500

// BenchmarkFlat looks up users without the cache in tables of 10,000 users and more, up
// to -rows users, alternately. It shows that the time does not grow with the table, and
// counts the pages per look-up.
func BenchmarkFlat(b *testing.B) {
	// shared_buffers holds all tables. Otherwise the larger ones are read from the page
	// cache of the operating system, which is slower.
	s := &server{Server: testdb.Own(b, map[string]string{"shared_buffers": fmt.Sprintf("%dMB", 128+*maxRows/4_000)})}
	var tables []*flat
	for _, users := range sizes() {
		tables = append(tables, newFlat(b, s, users))
	}
	b.ResetTimer()
	for range b.N {
		for range lookupsPerTable {
			for _, t := range tables {
				t.lookUp(b)
			}
		}
	}
	fastest, slowest := tables[0].median(), tables[0].median()
	for _, t := range tables {
		fastest, slowest = min(fastest, t.median()), max(slowest, t.median())
		b.ReportMetric(t.median(), fmt.Sprintf("µs/users=%d", t.users))
		b.ReportMetric(t.pages, fmt.Sprintf("pages/users=%d", t.users))
		b.ReportMetric(t.bytes, fmt.Sprintf("bytes-per-user/users=%d", t.users))
	}
	b.ReportMetric(slowest/fastest, "slowest-of-fastest")
}

// flat is a summary table. Each user's summary is computed from the user's id.
type flat struct {
	users int64
	store *summaries.Store
	pages float64   // per look-up, average
	bytes float64   // of the table and its index, per user
	took  []float64 // of each look-up, microseconds
	last  int64
}

func newFlat(b *testing.B, s *server, users int64) *flat {
	b.Helper()
	pool, runID := s.tally(b)
	fillSummaries(b, pool, runID, users)
	t := &flat{users: users, store: summaries.NewStore(pool)}
	t.lookUp(b) // not timed: prepares the statement and looks up the file's run
	t.took = nil
	t.pages = t.touched(b, pool)
	t.bytes = bytesOf(b, pool, "pg_total_relation_size('user_summary')") / float64(users)
	return t
}

// fillSummaries replaces all summaries with those of the users 1 to users, whose count
// and sum are computed from the id; see rightSummary.
func fillSummaries(b *testing.B, pool *pgxpool.Pool, runID, users int64) {
	b.Helper()
	file := loadFile(b, pool, runID, oneRow(b, 1)).FileID // a file that the ledger has
	exec(b, pool, fmt.Sprintf(`BEGIN; SET LOCAL tally.writer = 'tally';
		DELETE FROM user_summary;
		INSERT INTO user_summary (user_id, total_transactions, total_amount, file_id)
		SELECT u, 1 + u %% 100, u * 0.01, %d FROM generate_series(1, %d) u; COMMIT`, file, users))
	exec(b, pool, "VACUUM (ANALYZE, FREEZE) user_summary")
	settle(b, pool)
}

func rightSummary(user int32, transactions int64, total money.Sum) bool {
	return transactions == 1+int64(user)%100 && total == money.NewSum(int64(user), 2)
}

// next returns the next user in a stride that avoids the page of the previous one.
func (t *flat) next() int32 {
	t.last = (t.last + 7_919) % t.users
	return int32(1 + t.last)
}

func (t *flat) lookUp(b *testing.B) {
	b.Helper()
	user := t.next()
	began := time.Now()
	s, err := t.store.Get(b.Context(), user)
	t.took = append(t.took, float64(time.Since(began).Nanoseconds())/1000)
	if err != nil {
		b.Fatal(err)
	}
	if !rightSummary(user, s.Transactions, s.Total) {
		b.Fatalf("user %d of %d: %+v", user, t.users, s)
	}
}

func (t *flat) median() float64 {
	slices.Sort(t.took)
	return t.took[len(t.took)/2]
}

// touched returns the average number of pages that an execution of the look-up's prepared
// statement accesses. Planning is excluded, as it happens once per connection.
func (t *flat) touched(b *testing.B, pool *pgxpool.Pool) float64 {
	b.Helper()
	const sample = 100
	conn, err := pool.Acquire(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Release()
	var name string
	err = conn.QueryRow(b.Context(), "SELECT name FROM pg_prepared_statements WHERE statement LIKE '%FROM user_summary%'").Scan(&name)
	if err != nil {
		b.Fatal(err)
	}
	total := 0
	for range sample {
		var text []byte
		err := conn.QueryRow(b.Context(), fmt.Sprintf("EXPLAIN (ANALYZE, BUFFERS, FORMAT json) EXECUTE %s (%d)", name, t.next())).Scan(&text)
		if err != nil {
			b.Fatal(err)
		}
		var plans []struct {
			Plan struct {
				Node string  `json:"Node Type"`
				Hit  int     `json:"Shared Hit Blocks"`
				Read int     `json:"Shared Read Blocks"`
				Rows float64 `json:"Actual Rows"`
			}
		}
		if err := json.Unmarshal(text, &plans); err != nil {
			b.Fatal(err)
		}
		if p := plans[0].Plan; p.Node != "Index Scan" || p.Rows != 1 {
			b.Fatalf("not an index scan of one row: %s", text)
		}
		total += plans[0].Plan.Hit + plans[0].Plan.Read
	}
	return float64(total) / sample
}
