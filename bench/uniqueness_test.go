package bench

import (
	_ "embed" // for uniqueness.sql
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/internal/sqlfile"
)

//go:embed uniqueness.sql
var uniquenessSQL string

// unique is a method to keep ids unique in a table that is partitioned by month, or by
// hash or not at all if the method requires that.
type unique struct {
	name        string
	seconds     []float64 // per batch
	wal         float64
	month       readings
	rows, bytes float64
}

func uniques() []*unique {
	var all []*unique
	for _, name := range []string{"key-table", "trigger", "per-partition", "with-date", "hash", "flat"} {
		all = append(all, &unique{name: name})
	}
	return all
}

// BenchmarkUniqueness inserts batches of a tenth of the rows with random ids and dates
// spread over a year; 1 % of the rows repeat an id with a date in another month. Methods:
// a key table filled by a set-based INSERT (Tally's), a key table filled by a row trigger,
// a unique index on each partition, a unique index on id and date, hash partitions by id
// with a unique index, and an unpartitioned table. Each method is tested with a duplicate
// id. The sum of a month shows the cost for readers. fsync is on.
func BenchmarkUniqueness(b *testing.B) {
	for _, n := range sizes() {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			pool := newServer(b).database(b)
			script, all := sqlfile.Parse(uniquenessSQL), uniques()
			r := rowsOf(n, n/10, 365)
			for _, u := range all {
				u.make(b, pool, script)
				u.load(b, pool, script, r)
			}
			exec(b, pool, "VACUUM ANALYZE")
			for _, u := range all {
				u.seconds, u.wal = nil, 0 // discard the initial load
			}
			b.ResetTimer()
			for turn := range int64(b.N) {
				more := r
				more.first, more.last = n+1+turn*n/10, n+(turn+1)*n/10
				for _, u := range all {
					u.load(b, pool, script, more)
				}
			}
			b.StopTimer()
			for _, u := range all {
				u.report(b, pool, float64(n/10), r)
			}
		})
	}
}

func (u *unique) table() string { return "u_" + strings.ReplaceAll(u.name, "-", "_") }

func (u *unique) make(b *testing.B, pool *pgxpool.Pool, script sqlfile.Statements) {
	b.Helper()
	exec(b, pool, strings.ReplaceAll(script[u.name+"_table"], "{{columns}}", script.Get("columns")))
	if u.name != "hash" && u.name != "flat" {
		exec(b, pool, script.Get("months", "table", u.table()))
	}
	if u.name == "per-partition" {
		exec(b, pool, script.Get("per-partition_indexes"))
	}
}

// load inserts rows in one transaction.
func (u *unique) load(b *testing.B, pool *pgxpool.Pool, script sqlfile.Statements, r rowset) {
	b.Helper()
	exec(b, pool, "DROP TABLE IF EXISTS batch")
	exec(b, pool, script.Get("batch", "rows", r.sql(), "apart", fmt.Sprint(r.total/3+1)))
	settle(b, pool)
	u.wal += walDuring(b, pool, func() {
		began := time.Now()
		exec(b, pool, "BEGIN; "+script.Get(u.name+"_load")+" COMMIT")
		u.seconds = append(u.seconds, time.Since(began).Seconds())
	})
}

func (u *unique) report(b *testing.B, pool *pgxpool.Pool, batch float64, r rowset) {
	b.Helper()
	table := u.table()
	u.rows = bytesOf(b, pool, "SELECT count(*) FROM "+table)
	u.bytes = bytesOf(b, pool, fmt.Sprintf("SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' AND relname ~ '^%s(_\\d+|_keys)?$'", table))
	for range 5 {
		u.month.add(explain(b, pool, fmt.Sprintf("SELECT count(*), sum(amount::numeric) FROM %s WHERE transaction_date BETWEEN %s AND %s + 29", table, r.day(), r.day())))
	}
	once := 1.0
	if bytesOf(b, pool, "SELECT count(*) - count(DISTINCT transaction_id) FROM "+table) > 0 || !u.rejects(b, pool, table) {
		once = 0
	}
	b.ReportMetric(1e6*median(u.seconds)/batch, "load-µs-per-row/"+u.name)
	b.ReportMetric(u.wal/batch/float64(len(u.seconds)), "wal-bytes-per-row/"+u.name)
	b.ReportMetric(u.bytes/u.rows, "bytes-per-row/"+u.name)
	b.ReportMetric(median(u.month.server)/1000, "month-ms/"+u.name)
	b.ReportMetric(once, "keeps-once/"+u.name)
	want := u.rows == bytesOf(b, pool, "SELECT count(*) FROM u_flat")
	if want != (once == 1) {
		b.Fatalf("%s has %v rows, but keeps-once is %v", u.name, u.rows, once)
	}
}

// rejects reports whether a plain INSERT of an existing id in another month fails or
// inserts nothing.
func (u *unique) rejects(b *testing.B, pool *pgxpool.Pool, table string) bool {
	b.Helper()
	tx, err := pool.Begin(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer tx.Rollback(b.Context())
	if u.name == "key-table" {
		// The key is inserted first and violates the primary key. In Tally's schema
		// triggers reject rows that are inserted without a key.
		_, err = tx.Exec(b.Context(), "INSERT INTO u_key_table_keys SELECT transaction_id FROM u_key_table LIMIT 1")
	} else {
		_, err = tx.Exec(b.Context(), fmt.Sprintf(`INSERT INTO %s SELECT -1, transaction_id, user_id, amount,
			transaction_date + (CASE WHEN transaction_date < '2023-06-01' THEN 31 ELSE -31 END) FROM %s WHERE transaction_id = left(md5('1'), 16)`, table, table))
	}
	if violation, ok := errors.AsType[*pgconn.PgError](err); ok {
		return violation.Code == "23505"
	}
	if err != nil {
		b.Fatal(err)
	}
	return bytesOf(b, tx, "SELECT count(*) FROM "+table+" WHERE transaction_id = left(md5('1'), 16)") == 1 // the trigger skips the row
}
