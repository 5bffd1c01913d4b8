package bench

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
)

// BenchmarkParallel sums all rows by month with 0 to 4 parallel workers, with and without
// JIT compilation. It also sums one user over all partitions with JIT forced, which shows
// the cost if the planner overestimates a query. The variants alternate; times are the
// server's. If the server has no JIT, its variants are skipped.
func BenchmarkParallel(b *testing.B) {
	for _, n := range sizes() {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			pool, _ := database(b)
			r := rowsOf(n, n/10, 365)
			tallyTables(b, pool, r)
			exec(b, pool, "VACUUM (ANALYZE, FREEZE)")
			settle(b, pool)
			conn, err := pool.Acquire(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Release()
			variants := parallelVariants(r, column[bool](b, pool, "SELECT pg_jit_available()")[0])
			b.ResetTimer()
			for range b.N {
				for _, v := range variants {
					v.run(b, conn.Conn())
				}
			}
			for _, v := range variants {
				b.ReportMetric(median(v.server)/1000, v.query+"-ms/"+v.name)
			}
		})
	}
}

type parallelVariant struct {
	query, name, settings, sql string
	workers                    int
	readings
}

func parallelVariants(r rowset, jitAvailable bool) (variants []*parallelVariant) {
	const all = "SELECT date_trunc('month', transaction_date), count(*), sum(amount::numeric) FROM transactions GROUP BY 1"
	// Without these settings the planner would not use workers for small tables.
	const cheapWorkers = "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; "
	for _, workers := range []int{0, 1, 2, 4} {
		for _, jit := range []string{"off", "on"} {
			if jit == "on" && !jitAvailable {
				continue
			}
			variants = append(variants, &parallelVariant{
				query: "all", name: fmt.Sprintf("workers=%d-jit-%s", workers, jit), sql: all, workers: workers,
				settings: cheapWorkers + fmt.Sprintf("SET max_parallel_workers_per_gather = %d; SET max_parallel_workers = 8; SET jit = %s; SET jit_above_cost = 0", workers, jit),
			})
		}
	}
	user := fmt.Sprintf("SELECT count(*), sum(amount::numeric) FROM transactions WHERE user_id = %d", 1+r.users/2)
	for _, jit := range []string{"off", "on"} {
		if jit == "off" || jitAvailable {
			variants = append(variants, &parallelVariant{
				query: "user", name: "jit-" + jit, sql: user,
				settings: "SET max_parallel_workers_per_gather = 0; SET jit_above_cost = 0; SET jit_inline_above_cost = 0; SET jit_optimize_above_cost = 0; SET jit = " + jit,
			})
		}
	}
	return variants
}

func (v *parallelVariant) run(b *testing.B, conn *pgx.Conn) {
	b.Helper()
	if _, err := conn.Exec(b.Context(), "RESET ALL; "+v.settings, pgx.QueryExecModeSimpleProtocol); err != nil {
		b.Fatal(err)
	}
	e := explainOn(b, conn, v.sql)
	if v.workers > 0 != e.uses("Gather") {
		b.Fatalf("%s: unexpected use of workers: %+v", v.name, e.nodes)
	}
	v.add(e)
}
