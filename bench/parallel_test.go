package bench

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
)

// BenchmarkParallel asks for the totals of all months by reading every row, with more
// or fewer workers beside the one that asks, with and without just-in-time compilation;
// and for one user's sum over all partitions with compilation forced on it, to see what
// a plan that is thought dearer than it is pays for. Ways take turns; the server's own
// time. Where the server cannot compile, those ways are left out.
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
			ways := parallelWays(r, column[bool](b, pool, "SELECT pg_jit_available()")[0])
			b.ResetTimer()
			for range b.N {
				for _, w := range ways {
					w.ask(b, conn.Conn())
				}
			}
			for _, w := range ways {
				b.ReportMetric(median(w.server)/1000, w.question+"-ms/"+w.name)
			}
		})
	}
}

type parallelWay struct {
	question, name, settings, sql string
	workers                       int
	readings
}

func parallelWays(r rowset, compiles bool) (ways []*parallelWay) {
	const all = "SELECT date_trunc('month', transaction_date), count(*), sum(amount::numeric) FROM transactions GROUP BY 1"
	// Costs that PostgreSQL puts on starting workers would keep small tables from having any.
	const willing = "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; "
	for _, workers := range []int{0, 1, 2, 4} {
		for _, jit := range []string{"off", "on"} {
			if jit == "on" && !compiles {
				continue
			}
			ways = append(ways, &parallelWay{
				question: "all", name: fmt.Sprintf("workers=%d-jit-%s", workers, jit), sql: all, workers: workers,
				settings: willing + fmt.Sprintf("SET max_parallel_workers_per_gather = %d; SET max_parallel_workers = 8; SET jit = %s; SET jit_above_cost = 0", workers, jit),
			})
		}
	}
	user := fmt.Sprintf("SELECT count(*), sum(amount::numeric) FROM transactions WHERE user_id = %d", 1+r.users/2)
	for _, jit := range []string{"off", "on"} {
		if jit == "off" || compiles {
			ways = append(ways, &parallelWay{
				question: "user", name: "jit-" + jit, sql: user,
				settings: "SET max_parallel_workers_per_gather = 0; SET jit_above_cost = 0; SET jit_inline_above_cost = 0; SET jit_optimize_above_cost = 0; SET jit = " + jit,
			})
		}
	}
	return ways
}

func (w *parallelWay) ask(b *testing.B, conn *pgx.Conn) {
	b.Helper()
	if _, err := conn.Exec(b.Context(), "RESET ALL; "+w.settings, pgx.QueryExecModeSimpleProtocol); err != nil {
		b.Fatal(err)
	}
	e := explainOn(b, conn, w.sql)
	if w.workers > 0 != e.uses("Gather") {
		b.Fatalf("%s: workers are not as wanted: %+v", w.name, e.nodes)
	}
	w.add(e)
}
