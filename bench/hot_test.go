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

// vacuumEvery is the interval of vacuums in nights. They replace autovacuum, whose
// schedule is not reproducible.
const vacuumEvery = 10

// BenchmarkHotUpdates updates summaries for many nights, with the statement of
// summaries.Refresh, in copies of user_summary. The copies differ in fillfactor, in
// whether they are vacuumed every tenth night or never, and in whether total_amount has
// an index, which prevents HOT updates. Each night updates randomly chosen users, the
// same in all copies: in one case a tenth of them (100 of 1,000 users in 100 nights for
// 10,000 rows; 1,000 of 10,000 users in 1,000 nights for a million, the maximum), in the
// other case half of them in a tenth of the nights.
//
// Metrics: hot-share, of the updates; table- and index-bytes-per-row at the end; bloat,
// the size relative to that after VACUUM FULL, which is less than 1 if longer sums used
// the free space of the fillfactor; night-ms, the median of the last tenth of the nights;
// late-of-early, night-ms relative to the first tenth; wal-bytes-per-update, including
// vacuums. A checkpoint precedes each night, so that each night writes full-page images,
// as a real one does. fsync is off, since all copies commit equally often.
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

// hot is a set of copies of user_summary that get the same updates.
type hot struct {
	pool     *pgxpool.Pool
	conn     *pgx.Conn // runs the updates; closing it flushes the statistics
	users    int
	moved    int // users updated per night
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
	wal         int64 // bytes
}

func newHot(b *testing.B, pool *pgxpool.Pool, users, moved, nights int) *hot {
	b.Helper()
	text, err := os.ReadFile("../summaries/refresh.sql") // the production statement
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

// night updates the same users in every copy.
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
		position := walPosition(b, h.pool)
		sql := h.refresh.Get("upsert", "rollup", v.table, "keys", "user_id", "file_column", ", file_id", "file_value", ", $1", "stamp", h.refresh.Get("stamp", "file", "excluded.file_id", "now", "excluded.updated_at"))
		began := time.Now()
		tag, err := h.conn.Exec(b.Context(), sql, pgx.QueryExecModeExec, int64(night))
		v.ms = append(v.ms, 1000*time.Since(began).Seconds())
		if err != nil || tag.RowsAffected() != int64(h.moved) {
			b.Fatal(tag, err)
		}
		if v.vacuumed && night%vacuumEvery == vacuumEvery-1 {
			exec(b, h.pool, "VACUUM "+v.table)
		}
		v.wal += walPosition(b, h.pool) - position
	}
}

// finish checks the copies and reports the metrics.
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
		b.ReportMetric(float64(v.wal)/updates, "wal-bytes-per-update/"+v.name)
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

// check checks that a copy contains all updates, and that it equals the first copy.
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

// hotUpdates waits until the statistics include all updates, and returns the HOT updates.
func (h *hot) hotUpdates(b *testing.B, v *hotVariant, updates int64) float64 {
	b.Helper()
	var all, inPlace int64
	for began := time.Now(); all != updates; time.Sleep(10 * time.Millisecond) {
		err := h.pool.QueryRow(b.Context(), "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = $1", v.table).Scan(&all, &inPlace)
		if err != nil {
			b.Fatal(err)
		}
		if time.Since(began) > 10*time.Second {
			b.Fatalf("%s: the statistics show %d of %d updates", v.name, all, updates)
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
