package bench

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/shopspring/decimal"
)

// amountType is a way to store and sum amounts.
type amountType struct {
	name, column, sum string // column: its type; sum: the aggregate in SQL
	from              string // SQL that converts the numeric column a to the stored value
	table             string

	load, all, users []float64 // seconds
	bytes            float64
}

func amountTypes() []*amountType {
	return []*amountType{
		{name: "float", column: "float8", from: "a::float8", sum: "sum(amount)"},
		{name: "float-cast", column: "float8", from: "a::float8", sum: "sum(amount::numeric)"}, // Tally's way
		{name: "numeric", column: "numeric", from: "a", sum: "sum(amount)"},
		{name: "numeric-18-4", column: "numeric(18, 4)", from: "a", sum: "sum(amount)"},
		{name: "cents", column: "bigint", from: "(a * 10000)::bigint", sum: "sum(amount)::numeric / 10000"},
	}
}

// BenchmarkAmounts stores the same amounts as floats, as numerics and as integers in
// units of 0.0001. The amounts have at most 15 digits and 4 decimals; a third of them is
// negative. It measures the size of a row and the time to load, to sum all rows and to
// sum by user. It compares the sums with decimal sums in Go: the error of the total, and
// the share of users whose sum is wrong. It also counts the different totals of the same
// rows in several orders and by parallel workers.
func BenchmarkAmounts(b *testing.B) {
	for _, n := range sizes() {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			pool, _ := database(b)
			exact := exactAmounts(b, pool, n)
			all := amountTypes()
			for _, m := range all {
				m.table = "m_" + strings.ReplaceAll(m.name, "-", "_")
			}
			b.ResetTimer()
			for range b.N {
				for _, m := range all {
					m.store(b, pool)
				}
				for _, m := range all {
					m.read(b, pool)
				}
			}
			b.StopTimer()
			for _, m := range all {
				m.report(b, pool, float64(n), exact)
			}
			floatOrders(b, pool)
		})
	}
}

// exactAmounts creates the source amounts and sums them in Go. They are small and large,
// since a float sum loses the digits of small amounts next to large ones.
func exactAmounts(b *testing.B, pool *pgxpool.Pool, n int64) decimal.Decimal {
	b.Helper()
	exec(b, pool, fmt.Sprintf(`CREATE UNLOGGED TABLE amounts AS SELECT i, (1 + i %% %d)::int AS user_id,
		CASE WHEN i %% 97 = 0 THEN 0 WHEN i %% 3 = 0 THEN -1 ELSE 1 END
		* CASE i %% 5 WHEN 0 THEN 123456789012345 + i * 7919 %% 999983 ELSE i * 7919 %% 9999991 END / 10000.0 AS a
		FROM generate_series(1, %d::bigint) i`, n/10+1, n)) // coprime to 5, so that each user has small and large amounts
	exec(b, pool, "UPDATE amounts SET a = trim_scale(a)")
	if digits := bytesOf(b, pool, "SELECT max(length(regexp_replace(a::text, '[^0-9]', '', 'g'))) FROM amounts"); digits != 15 {
		b.Fatalf("the longest amount has %v digits, want 15", digits)
	}
	total := decimal.Zero
	for _, text := range column[string](b, pool, "SELECT a::text FROM amounts") {
		a, err := decimal.NewFromString(text)
		if err != nil {
			b.Fatal(err)
		}
		total = total.Add(a)
	}
	return total
}

func (m *amountType) store(b *testing.B, pool *pgxpool.Pool) {
	b.Helper()
	exec(b, pool, fmt.Sprintf("DROP TABLE IF EXISTS %s, source; CREATE TABLE %s (i BIGINT, user_id INT, amount %s)", m.table, m.table, m.column))
	exec(b, pool, fmt.Sprintf("CREATE UNLOGGED TABLE source AS SELECT i, user_id, (%s)::%s AS amount FROM amounts", m.from, m.column)) // same type as the target, so that no conversion is timed
	settle(b, pool)
	began := time.Now()
	exec(b, pool, fmt.Sprintf("INSERT INTO %s SELECT * FROM source", m.table))
	m.load = append(m.load, time.Since(began).Seconds())
	exec(b, pool, "VACUUM (ANALYZE, FREEZE) "+m.table)
	m.bytes = bytesOf(b, pool, "pg_table_size('"+m.table+"')")
}

func (m *amountType) read(b *testing.B, pool *pgxpool.Pool) {
	b.Helper()
	m.all = append(m.all, explain(b, pool, fmt.Sprintf("SELECT %s FROM %s", m.sum, m.table)).execution/1e6)
	m.users = append(m.users, explain(b, pool, fmt.Sprintf("SELECT user_id, %s FROM %s GROUP BY user_id", m.sum, m.table)).execution/1e6)
}

func (m *amountType) report(b *testing.B, pool *pgxpool.Pool, rows float64, exact decimal.Decimal) {
	b.Helper()
	total, err := decimal.NewFromString(column[string](b, pool, fmt.Sprintf("SELECT (%s)::text FROM %s", m.sum, m.table))[0])
	if err != nil {
		b.Fatal(err)
	}
	off := total.Sub(exact).Abs()
	if m.name != "float" && !off.IsZero() {
		b.Fatalf("%s: the sum is %s, want %s", m.name, total, exact)
	}
	wrong := bytesOf(b, pool, fmt.Sprintf(`SELECT count(*) FROM (SELECT user_id, %s AS s FROM %s GROUP BY 1) f
		JOIN (SELECT user_id, sum(a) AS s FROM amounts GROUP BY 1) e USING (user_id) WHERE f.s::text::numeric <> e.s`, m.sum, m.table))
	inCents := bytesOf(b, pool, fmt.Sprintf(`SELECT count(*) FROM (SELECT user_id, round((%s)::numeric, 2) AS s FROM %s GROUP BY 1) f
		JOIN (SELECT user_id, round(sum(a), 2) AS s FROM amounts GROUP BY 1) e USING (user_id) WHERE f.s <> e.s`, m.sum, m.table))
	users := bytesOf(b, pool, "SELECT count(DISTINCT user_id) FROM amounts")
	b.ReportMetric(off.InexactFloat64(), "off/"+m.name)
	b.ReportMetric(100*wrong/users, "wrong-users-percent/"+m.name)
	b.ReportMetric(100*inCents/users, "wrong-cents-percent/"+m.name)
	b.ReportMetric(m.bytes/rows, "bytes-per-row/"+m.name)
	b.ReportMetric(1000*median(m.load), "load-ms/"+m.name)
	b.ReportMetric(1000*median(m.all), "sum-ms/"+m.name)
	b.ReportMetric(1000*median(m.users), "sum-by-user-ms/"+m.name)
}

// floatOrders sums the same floats in several orders and by parallel workers, and counts
// the different totals.
func floatOrders(b *testing.B, pool *pgxpool.Pool) {
	b.Helper()
	sums := func(name, expression string) {
		different := map[string]bool{}
		for _, order := range []string{"i", "i DESC", "amount", "abs(amount)", "hashint8(i)"} {
			different[column[string](b, pool, fmt.Sprintf("SELECT (%s)::text FROM (SELECT amount FROM m_float ORDER BY %s) o", expression, order))[0]] = true
		}
		different[parallelSum(b, pool, expression)] = true
		b.ReportMetric(float64(len(different)), "different-sums/"+name)
	}
	sums("float", "sum(amount)")
	sums("float-cast", "sum(amount::numeric)")
	// The example in docs/performance.md.
	example := column[float64](b, pool, "SELECT sum(x) FROM (VALUES (0.1::float8), (0.2), (-0.3)) v(x)")[0]
	if got := strconv.FormatFloat(example, 'g', -1, 64); got != "5.551115123125783e-17" {
		b.Fatalf("0.1 + 0.2 - 0.3 is %s", got)
	}
}

func parallelSum(b *testing.B, pool *pgxpool.Pool, expression string) (text string) {
	b.Helper()
	tx, err := pool.Begin(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer tx.Rollback(b.Context())
	_, err = tx.Exec(b.Context(), `SET LOCAL parallel_setup_cost = 0; SET LOCAL parallel_tuple_cost = 0;
		SET LOCAL min_parallel_table_scan_size = 0; SET LOCAL max_parallel_workers_per_gather = 2`, pgx.QueryExecModeSimpleProtocol)
	sql := fmt.Sprintf("SELECT (%s)::text FROM m_float", expression)
	if err == nil {
		err = tx.QueryRow(b.Context(), sql).Scan(&text)
	}
	if err == nil && !explainOn(b, tx.Conn(), sql).uses("Gather") {
		b.Fatal("the plan uses no parallel workers")
	}
	if err != nil {
		b.Fatal(err)
	}
	return text
}
