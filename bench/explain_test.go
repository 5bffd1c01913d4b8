package bench

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// explained is the result of EXPLAIN ANALYZE.
type explained struct {
	planning, execution float64 // microseconds
	pages               float64 // shared blocks hit and read by the execution
	nodes               []planNode
}

// server returns planning and execution time together.
func (e explained) server() float64 { return e.planning + e.execution }

func (e explained) uses(node string) bool {
	return slices.ContainsFunc(e.nodes, func(n planNode) bool { return strings.HasPrefix(n.Type, node) })
}

// heapFetches returns how many rows index-only scans fetched from the heap.
func (e explained) heapFetches() (total float64) {
	for _, n := range e.nodes {
		total += n.HeapFetches * n.Loops
	}
	return total
}

// removed returns how many subplans were pruned at execution.
func (e explained) removed() (total float64) {
	for _, n := range e.nodes {
		total += n.Removed
	}
	return total
}

// planNode contains the fields of a plan node that the studies use.
type planNode struct {
	Type        string     `json:"Node Type"`
	Relation    string     `json:"Relation Name"`
	Index       string     `json:"Index Name"`
	Hit         float64    `json:"Shared Hit Blocks"`
	Read        float64    `json:"Shared Read Blocks"`
	Estimated   float64    `json:"Plan Rows"`
	Rows        float64    `json:"Actual Rows"`
	Loops       float64    `json:"Actual Loops"`
	HeapFetches float64    `json:"Heap Fetches"`
	Removed     float64    `json:"Subplans Removed"`
	Plans       []planNode `json:"Plans"`
}

func (n planNode) all() []planNode {
	nodes := []planNode{n}
	for _, child := range n.Plans {
		nodes = append(nodes, child.all()...)
	}
	return nodes
}

// explain executes a statement under EXPLAIN ANALYZE.
func explain(b *testing.B, pool *pgxpool.Pool, sql string, args ...any) (e explained) {
	b.Helper()
	err := pool.AcquireFunc(b.Context(), func(conn *pgxpool.Conn) error {
		e = explainOn(b, conn.Conn(), sql, args...)
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return e
}

// explainOn is explain on a given connection, for its settings and prepared statements.
func explainOn(b *testing.B, conn *pgx.Conn, sql string, args ...any) explained {
	b.Helper()
	var text []byte
	args = append([]any{pgx.QueryExecModeExec}, args...)
	if err := conn.QueryRow(b.Context(), "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT json) "+sql, args...).Scan(&text); err != nil {
		b.Fatal(sql, err)
	}
	var plans []struct {
		Plan      planNode
		Planning  float64 `json:"Planning Time"`
		Execution float64 `json:"Execution Time"`
	}
	if err := json.Unmarshal(text, &plans); err != nil {
		b.Fatal(err)
	}
	p := plans[0]
	return explained{1000 * p.Planning, 1000 * p.Execution, p.Plan.Hit + p.Plan.Read, p.Plan.all()}
}

// readings are the results of repeated executions, which are reported as medians.
type readings struct {
	planning, execution, server, pages []float64
	heapFetches, removed               []float64
	indexOnly                          bool // an execution used an index-only scan
}

func (r *readings) add(e explained) {
	r.planning = append(r.planning, e.planning)
	r.execution = append(r.execution, e.execution)
	r.server = append(r.server, e.server())
	r.pages = append(r.pages, e.pages)
	r.heapFetches = append(r.heapFetches, e.heapFetches())
	r.removed = append(r.removed, e.removed())
	r.indexOnly = r.indexOnly || e.uses("Index Only Scan")
}
