package bench

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// keyed is a table with one index, and the order in which rows are inserted.
type keyed struct {
	name, key, order string // key: SQL of the indexed key; order: SQL of the insertion order
	later            bool   // create the index after the rows
	table            string
	seconds, wal     []float64
}

func keyedTables() []*keyed {
	const random, sequential, timed = "md5(id::text)", "lpad(id::text, 32, '0')", "to_hex(1700000000000 + id) || left(md5(id::text), 20)"
	return []*keyed{
		{name: "user-sorted", key: "user_id", order: "user_id, id"},
		{name: "user-unsorted", key: "user_id", order: "hashint8(id)"},
		{name: "random-ids-sorted", key: random, order: random},
		{name: "random-ids-unsorted", key: random, order: "id"},
		{name: "time-ordered-ids", key: timed, order: "id"},
		{name: "sequential-ids", key: sequential, order: "id"},
		{name: "random-ids-index-later", key: random, order: "id", later: true},
		{name: "random-ids-sorted-index-later", key: random, order: random, later: true},
	}
}

// BenchmarkOrder inserts a tenth of new rows into tables with one index, sorted by its
// key and unsorted. Keys are users, random ids (hashes or version 4 UUIDs), ids that
// start with the time (version 7 UUIDs), and sequential ids. Two variants drop the index
// and recreate it after the insert. fsync is on, and a checkpoint precedes each batch, so
// each page that is modified writes a full-page image.
func BenchmarkOrder(b *testing.B) {
	for _, n := range sizes() {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			pool := newServer(b).database(b)
			all := keyedTables()
			for i, k := range all {
				k.table = fmt.Sprint("k", i)
				exec(b, pool, fmt.Sprintf("CREATE TABLE %s (id BIGINT, key %s, amount FLOAT)", k.table, map[bool]string{true: "INT", false: "TEXT COLLATE \"C\""}[k.key == "user_id"]))
				exec(b, pool, k.insert(rowsOf(n, n/10, 365)))
				if !k.later {
					exec(b, pool, fmt.Sprintf("CREATE INDEX %s_key ON %s (key)", k.table, k.table))
				}
			}
			exec(b, pool, "VACUUM (ANALYZE, FREEZE)")
			b.ResetTimer()
			for turn := range int64(b.N) {
				more := rowsOf(n, n/10, 365)
				more.first, more.last = n+1+turn*n/10, n+(turn+1)*n/10
				for _, k := range all {
					k.add(b, pool, more)
				}
			}
			b.StopTimer()
			for _, k := range all {
				k.report(b, pool, float64(n/10), float64(n+int64(b.N)*n/10))
			}
		})
	}
}

func (k *keyed) insert(r rowset) string {
	return fmt.Sprintf("INSERT INTO %s SELECT id, %s, amount FROM (%s) r ORDER BY %s", k.table, k.key, r.sql(), k.order)
}

// add inserts a batch. The sort is not timed, since it is not part of the index's cost.
func (k *keyed) add(b *testing.B, pool *pgxpool.Pool, r rowset) {
	b.Helper()
	exec(b, pool, "DROP TABLE IF EXISTS batch; CREATE UNLOGGED TABLE batch AS "+
		fmt.Sprintf("SELECT id, %s AS key, amount FROM (%s) r ORDER BY %s", k.key, r.sql(), k.order))
	settle(b, pool)
	k.wal = append(k.wal, walDuring(b, pool, func() {
		began := time.Now()
		exec(b, pool, "INSERT INTO "+k.table+" SELECT * FROM batch")
		if k.later {
			exec(b, pool, fmt.Sprintf("DROP INDEX IF EXISTS %s_key; CREATE INDEX %s_key ON %s (key)", k.table, k.table, k.table))
		}
		k.seconds = append(k.seconds, time.Since(began).Seconds())
	}))
}

func (k *keyed) report(b *testing.B, pool *pgxpool.Pool, batch, rows float64) {
	b.Helper()
	if have := bytesOf(b, pool, "SELECT count(*) FROM "+k.table); have != rows {
		b.Fatalf("%s has %v rows, want %v", k.name, have, rows)
	}
	b.ReportMetric(1e6*median(k.seconds)/batch, "µs-per-new-row/"+k.name)
	b.ReportMetric(median(k.wal)/batch, "wal-bytes-per-new-row/"+k.name)
	b.ReportMetric(bytesOf(b, pool, "pg_indexes_size('"+k.table+"')")/rows, "index-bytes-per-row/"+k.name)
}
