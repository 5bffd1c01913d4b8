package bench

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/shopspring/decimal"
)

// partitionedDays is the range of dates: three years.
const partitionedDays = 3 * 365

// partitioned is a table with one partition scheme.
type partitioned struct {
	name  string
	every string // interval of the partitions; not partitioned if empty
	table string

	user, day, month, generic readings // generic: a user's month with a generic plan
	night, spread             []float64
	vacuum, retire            []float64
	locks, catalog            float64
}

// BenchmarkPartitioning stores three years of rows in an unpartitioned table with Tally's
// primary key, and in tables partitioned by month and by day. It measures planning and
// execution of the sum of a user, of a day and of a month; a night's INSERT (10,000 rows
// of one day, and as many spread over all days) and the VACUUM after it; the removal of
// the oldest month (DELETE and VACUUM, or DROP TABLE of its partitions); the partitions
// pruned when a generic plan is executed; the relations that a user's sum locks; and the
// catalog cache of a connection after it has planned that sum. fsync is on.
func BenchmarkPartitioning(b *testing.B) {
	for _, n := range sizes() {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			pool := newServer(b).database(b)
			r := rowsOf(n, n/10, partitionedDays)
			all := []*partitioned{{name: "none"}, {name: "month", every: "1 month"}, {name: "day", every: "1 day"}}
			for _, p := range all {
				p.make(b, pool, r)
			}
			exec(b, pool, "VACUUM ANALYZE")
			settle(b, pool)
			b.ResetTimer()
			for turn := range b.N {
				for _, p := range all {
					p.read(b, pool, r)
				}
				for _, p := range all {
					p.addNight(b, pool, r, int64(turn))
				}
				checkPartitionSums(b, pool, all)
				for _, p := range all {
					p.retireMonth(b, pool, turn)
				}
				checkPartitionSums(b, pool, all)
			}
			for _, p := range all {
				p.report(b)
			}
		})
	}
}

func (p *partitioned) make(b *testing.B, pool *pgxpool.Pool, r rowset) {
	b.Helper()
	p.table = "by_" + p.name
	if p.every == "" {
		exec(b, pool, "CREATE TABLE "+p.table+" "+requiredColumns)
	} else {
		exec(b, pool, "CREATE TABLE "+p.table+" "+requiredColumns+" PARTITION BY RANGE (transaction_date)")
		exec(b, pool, fmt.Sprintf(`DO $$ DECLARE d date; BEGIN
			FOR d IN SELECT generate_series(date '%s', date '%s' + %d, interval '%s')::date LOOP
				EXECUTE format('CREATE TABLE %s_%%s PARTITION OF %s FOR VALUES FROM (%%L) TO (%%L)', to_char(d, 'YYYYMMDD'), d, (d + interval '%s')::date);
			END LOOP; END $$`, firstDay, firstDay, r.days, p.every, p.table, p.table, p.every))
	}
	exec(b, pool, "INSERT INTO "+p.table+" "+r.sql())
	exec(b, pool, "ALTER TABLE "+p.table+" ADD PRIMARY KEY (user_id, transaction_date, id)")
}

func (p *partitioned) read(b *testing.B, pool *pgxpool.Pool, r rowset) {
	b.Helper()
	const sum = "SELECT count(*), sum(amount::numeric) FROM %s WHERE "
	user := fmt.Sprintf(sum+"user_id = %d", p.table, 1+r.users/3)
	day := fmt.Sprintf(sum+"transaction_date = %s", p.table, r.day())
	month := fmt.Sprintf(sum+"transaction_date BETWEEN %s AND %s + 29", p.table, r.day(), r.day())
	conn, err := pool.Acquire(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Release()
	for range 5 {
		p.user.add(explainOn(b, conn.Conn(), user))
		p.day.add(explainOn(b, conn.Conn(), day))
		p.month.add(explainOn(b, conn.Conn(), month))
	}
	if _, err := conn.Exec(b.Context(), "SET plan_cache_mode = force_generic_plan; PREPARE "+p.table+" (int, date, date) AS "+
		fmt.Sprintf(sum+"user_id = $1 AND transaction_date BETWEEN $2 AND $3", p.table)); err != nil {
		b.Fatal(err)
	}
	for range 10 {
		p.generic.add(explainOn(b, conn.Conn(), fmt.Sprintf("EXECUTE %s (%d, %s, %s + 29)", p.table, 1+r.users/3, r.day(), r.day())))
	}
	if _, err := conn.Exec(b.Context(), "DEALLOCATE ALL; RESET plan_cache_mode"); err != nil {
		b.Fatal(err)
	}
	p.locks = p.lockCount(b, pool, user)
	p.catalog = p.catalogCache(b, pool, user)
}

// lockCount returns the number of relations that a statement locks.
func (p *partitioned) lockCount(b *testing.B, pool *pgxpool.Pool, sql string) (n float64) {
	b.Helper()
	tx, err := pool.Begin(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer tx.Rollback(b.Context())
	if _, err = tx.Exec(b.Context(), sql); err == nil {
		err = tx.QueryRow(b.Context(), fmt.Sprintf(`SELECT count(*)::float8 FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
			WHERE l.pid = pg_backend_pid() AND c.relname LIKE '%s%%'`, p.table)).Scan(&n)
	}
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// catalogCache returns by how many bytes a statement grows the catalog cache of a new
// connection.
func (p *partitioned) catalogCache(b *testing.B, pool *pgxpool.Pool, sql string) float64 {
	b.Helper()
	const cacheSize = "SELECT sum(used_bytes)::float8 FROM pg_backend_memory_contexts WHERE name = 'CacheMemoryContext' OR parent = 'CacheMemoryContext'"
	fresh, err := pgx.ConnectConfig(b.Context(), pool.Config().ConnConfig)
	if err != nil {
		b.Fatal(err)
	}
	defer fresh.Close(b.Context())
	var before, after float64
	if err = fresh.QueryRow(b.Context(), cacheSize).Scan(&before); err == nil {
		_, err = fresh.Exec(b.Context(), sql)
	}
	if err == nil {
		err = fresh.QueryRow(b.Context(), cacheSize).Scan(&after)
	}
	if err != nil {
		b.Fatal(err)
	}
	return after - before
}

// addNight inserts a night's rows of one day, then a night's rows of all days, each
// followed by a VACUUM.
func (p *partitioned) addNight(b *testing.B, pool *pgxpool.Pool, r rowset, turn int64) {
	b.Helper()
	night := min(10_000, r.total/10)
	one := rowset{first: r.total + 1 + 2*turn*night, users: r.users, days: 0, total: r.total}
	one.last = one.first + night - 1
	spread := rowset{first: one.last + 1, last: one.last + night, users: r.users, days: r.days, total: r.total}
	insert := func(from rowset, date string, took *[]float64) {
		settle(b, pool)
		began := time.Now()
		exec(b, pool, fmt.Sprintf("INSERT INTO %s SELECT id, transaction_id, user_id, amount, %s FROM (%s) r", p.table, date, from.sql()))
		*took = append(*took, time.Since(began).Seconds())
		began = time.Now()
		exec(b, pool, "VACUUM "+p.table)
		p.vacuum = append(p.vacuum, time.Since(began).Seconds())
	}
	insert(one, r.day(), &p.night)
	insert(spread, fmt.Sprintf("DATE '%s' + 60 + (id * 7919 %% %d)::int", firstDay, r.days-60), &p.spread)
}

// retireMonth removes the oldest remaining month.
func (p *partitioned) retireMonth(b *testing.B, pool *pgxpool.Pool, turn int) {
	b.Helper()
	settle(b, pool)
	from := fmt.Sprintf("(DATE '%s' + interval '%d months')", firstDay, turn)
	to := fmt.Sprintf("(DATE '%s' + interval '%d months')", firstDay, turn+1)
	began := time.Now()
	if p.every == "" {
		exec(b, pool, fmt.Sprintf("DELETE FROM %s WHERE transaction_date >= %s AND transaction_date < %s", p.table, from, to))
		exec(b, pool, "VACUUM "+p.table)
	} else {
		exec(b, pool, fmt.Sprintf(`DO $$ DECLARE t text; BEGIN
			FOR t IN SELECT relid::text FROM pg_partition_tree('%s') WHERE isleaf
				AND to_date(right(relid::text, 8), 'YYYYMMDD') >= %s AND to_date(right(relid::text, 8), 'YYYYMMDD') < %s LOOP
				EXECUTE 'DROP TABLE ' || t;
			END LOOP; END $$`, p.table, from, to))
	}
	p.retire = append(p.retire, time.Since(began).Seconds())
}

// checkPartitionSums checks that all tables have the same count and sum.
func checkPartitionSums(b *testing.B, pool *pgxpool.Pool, all []*partitioned) {
	b.Helper()
	var wantCount int64
	var want decimal.Decimal
	for i, p := range all {
		var count int64
		var total decimal.Decimal
		if err := pool.QueryRow(b.Context(), "SELECT count(*), sum(amount::numeric) FROM "+p.table).Scan(&count, &total); err != nil {
			b.Fatal(err)
		}
		if i == 0 {
			wantCount, want = count, total
		}
		if count == 0 || count != wantCount || !total.Equal(want) {
			b.Fatalf("%s has %d rows and %s, want %d and %s", p.table, count, total, wantCount, want)
		}
	}
}

func (p *partitioned) report(b *testing.B) {
	b.Helper()
	for query, r := range map[string]readings{"user": p.user, "day": p.day, "month": p.month, "user-month-kept": p.generic} {
		b.ReportMetric(median(r.planning), query+"-plan-µs/"+p.name)
		b.ReportMetric(median(r.execution), query+"-µs/"+p.name)
		b.ReportMetric(median(r.pages), query+"-pages/"+p.name)
	}
	b.ReportMetric(median(p.generic.removed), "subplans-removed/"+p.name)
	b.ReportMetric(1000*median(p.night), "night-ms/"+p.name)
	b.ReportMetric(1000*median(p.spread), "spread-night-ms/"+p.name)
	b.ReportMetric(1000*median(p.vacuum), "vacuum-ms/"+p.name)
	b.ReportMetric(1000*median(p.retire), "retire-ms/"+p.name)
	b.ReportMetric(p.locks, "locks/"+p.name)
	b.ReportMetric(p.catalog/1024, "catalog-KiB/"+p.name)
}
