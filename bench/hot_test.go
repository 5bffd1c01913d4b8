package bench

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/internal/sqlfile"
	"github.com/opentax/tally/internal/testdb"
)

// vacuumEvery is after how many nights a vacuumed variant is vacuumed, in the place of
// autovacuum, whose moments would not come again.
const vacuumEvery = 10

// BenchmarkHotUpdates moves summaries night after night, by the statement that
// summaries.Refresh moves them by, in copies of user_summary that differ in fillfactor,
// in whether they are vacuumed every tenth night or never, and in whether total_amount
// has an index, which keeps PostgreSQL from updating in place (HOT). A night updates
// the summaries of users who are drawn anew each time, the same for all copies: once a
// tenth of them, 100 nights of 100 of 1,000 for 10,000 rows, 1,000 nights of 1,000 of
// 10,000 for a million, which is the most; and once half of them, in a tenth of the
// nights.
//
// Metrics: hot-share, of the updates; table- and index-bytes-per-row in the end;
// bloat, the bytes of table and indexes of those that VACUUM FULL leaves, less than 1
// where sums that have got longer went into the room that the fillfactor had left;
// night-ms, the last tenth's median, and late-of-early, in the first
// tenth's; wal-bytes-per-update, vacuums included. There is a checkpoint before each
// night, so that each pays for the images of its pages as a night does that is alone
// in its day. fsync is off: what is compared is work, and none of the copies commits
// more often than another.
func BenchmarkHotUpdates(b *testing.B) {
	server := &server{Server: testdb.Own(b, map[string]string{"full_page_writes": "on", "autovacuum": "off"})}
	for _, rows := range sizes() {
		if rows > 1_000_000 {
			break
		}
		root := int(math.Sqrt(float64(rows)))
		for _, of := range []struct{ percent, nights int }{{10, root}, {50, root / 10}} {
			b.Run(fmt.Sprintf("rows=%d/moved=%d%%", rows, of.percent), func(b *testing.B) {
				for range b.N {
					pool, _ := server.tally(b)
					h := newHot(b, pool, 10*root, 10*root*of.percent/100, of.nights)
					for night := range h.nights {
						h.night(b, night)
					}
					h.finish(b)
					server.drop(b, pool)
				}
			})
		}
	}
}

// hot are copies of user_summary that are moved side by side.
type hot struct {
	pool     *pgxpool.Pool
	conn     *pgx.Conn // that updates; statistics are sent when it closes
	users    int
	moved    int // in a night
	nights   int
	refresh  sqlfile.Statements
	variants []*hotVariant
	rng      *rand.Rand
	drawn    []int32
}

type hotVariant struct {
	name, table string
	fill        int
	indexed     bool
	vacuumed    bool
	ms          []float64
	log         int64
}

func newHot(b *testing.B, pool *pgxpool.Pool, users, moved, nights int) *hot {
	b.Helper()
	text, err := os.ReadFile("../summaries/refresh.sql") // of the package that owns the statement
	if err != nil {
		b.Fatal(err)
	}
	h := &hot{pool: pool, users: users, moved: moved, nights: nights, refresh: sqlfile.Parse(string(text)), rng: rand.New(rand.NewPCG(1, 1))}
	if h.conn, err = pgx.ConnectConfig(b.Context(), pool.Config().ConnConfig); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = h.conn.Close(context.Background()) })
	for u := range h.users {
		h.drawn = append(h.drawn, int32(1+u))
	}
	exec(b, pool, "CREATE UNLOGGED TABLE refresh_delta (user_id INT, n BIGINT, amount NUMERIC)")
	for _, vacuumed := range []bool{true, false} {
		for _, fill := range []int{100, 90, 70, 50} {
			h.add(b, &hotVariant{fill: fill, vacuumed: vacuumed, name: fmt.Sprintf("fill-%d", fill)})
		}
		h.add(b, &hotVariant{fill: 70, vacuumed: vacuumed, indexed: true, name: "fill-70-indexed"})
	}
	settle(b, pool)
	return h
}

func (h *hot) add(b *testing.B, v *hotVariant) {
	b.Helper()
	if !v.vacuumed {
		v.name += "-unvacuumed"
	}
	v.table = fmt.Sprintf("hot_%d", len(h.variants))
	h.variants = append(h.variants, v)
	exec(b, h.pool, fmt.Sprintf(`CREATE TABLE %s (LIKE user_summary INCLUDING ALL) WITH (fillfactor = %d);
		INSERT INTO %[1]s (user_id, total_transactions, total_amount, file_id) SELECT u, 1, u * 0.01, 1 FROM generate_series(1, %[3]d) u`,
		v.table, v.fill, h.users))
	if v.indexed {
		exec(b, h.pool, "CREATE INDEX ON "+v.table+" (total_amount)")
	}
	exec(b, h.pool, "VACUUM ANALYZE "+v.table)
}

// night moves the same users of every copy.
func (h *hot) night(b *testing.B, night int) {
	b.Helper()
	h.rng.Shuffle(len(h.drawn), func(i, j int) { h.drawn[i], h.drawn[j] = h.drawn[j], h.drawn[i] })
	tonight := slices.Sorted(slices.Values(h.drawn[:h.moved]))
	exec(b, h.pool, "TRUNCATE refresh_delta")
	n, err := h.conn.CopyFrom(b.Context(), pgx.Identifier{"refresh_delta"}, []string{"user_id", "n", "amount"},
		pgx.CopyFromSlice(len(tonight), func(i int) ([]any, error) { return []any{tonight[i], int64(1), fmt.Sprintf("%d.25", night)}, nil }))
	if err != nil || n != int64(h.moved) {
		b.Fatal(n, err)
	}
	settle(b, h.pool)
	for _, v := range h.variants {
		position := logPosition(b, h.pool)
		sql := h.refresh.Get("upsert", "rollup", v.table, "keys", "user_id")
		began := time.Now()
		tag, err := h.conn.Exec(b.Context(), sql, pgx.QueryExecModeExec, int64(night))
		v.ms = append(v.ms, 1000*time.Since(began).Seconds())
		if err != nil || tag.RowsAffected() != int64(h.moved) {
			b.Fatal(tag, err)
		}
		if v.vacuumed && night%vacuumEvery == vacuumEvery-1 {
			exec(b, h.pool, "VACUUM "+v.table)
		}
		v.log += logPosition(b, h.pool) - position
	}
}

// finish checks the copies, and reports what has become of them.
func (h *hot) finish(b *testing.B) {
	b.Helper()
	if err := h.conn.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
	first := ""
	for _, v := range h.variants {
		first = h.check(b, v, first)
		updates := float64(h.moved * h.nights)
		b.ReportMetric(h.hotUpdates(b, v, int64(updates))/updates, "hot-share/"+v.name)
		b.ReportMetric(float64(v.log)/updates, "wal-bytes-per-update/"+v.name)
		table, index := h.sizes(b, v)
		b.ReportMetric(table/float64(h.users), "table-bytes-per-row/"+v.name)
		b.ReportMetric(index/float64(h.users), "index-bytes-per-row/"+v.name)
		exec(b, h.pool, "VACUUM FULL "+v.table)
		tableFull, indexFull := h.sizes(b, v)
		b.ReportMetric((table+index)/(tableFull+indexFull), "bloat/"+v.name)
		tenth := len(v.ms) / 10
		early, late := median(v.ms[:tenth]), median(v.ms[len(v.ms)-tenth:])
		b.ReportMetric(late, "night-ms/"+v.name)
		b.ReportMetric(late/early, "late-of-early/"+v.name)
	}
}

// check insists that all nights are in a copy, and that it has what the first one has.
func (h *hot) check(b *testing.B, v *hotVariant, first string) string {
	b.Helper()
	var transactions int64
	var digest string
	err := h.pool.QueryRow(b.Context(), `SELECT sum(total_transactions),
		sum(hashtextextended(concat_ws(' ', user_id, total_transactions, total_amount, version, file_id), 0)::numeric)::text FROM `+v.table).
		Scan(&transactions, &digest)
	if err != nil || transactions != int64(h.users+h.moved*h.nights) || (first != "" && digest != first) {
		b.Fatalf("%s: %d transactions, %s, want %s: %v", v.name, transactions, digest, first, err)
	}
	return digest
}

// hotUpdates waits for the statistics to know of all updates.
func (h *hot) hotUpdates(b *testing.B, v *hotVariant, updates int64) float64 {
	b.Helper()
	var all, inPlace int64
	for began := time.Now(); all != updates; time.Sleep(10 * time.Millisecond) {
		err := h.pool.QueryRow(b.Context(), "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = $1", v.table).Scan(&all, &inPlace)
		if err != nil {
			b.Fatal(err)
		}
		if time.Since(began) > 10*time.Second {
			b.Fatalf("%s: the statistics know of %d updates of %d", v.name, all, updates)
		}
	}
	return float64(inPlace)
}

func (h *hot) sizes(b *testing.B, v *hotVariant) (table, index float64) {
	b.Helper()
	if err := h.pool.QueryRow(b.Context(), "SELECT pg_relation_size($1::text::regclass), pg_indexes_size($1::text::regclass)", v.table).Scan(&table, &index); err != nil {
		b.Fatal(err)
	}
	return table, index
}
