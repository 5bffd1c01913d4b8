package testdb

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/opentax/tally/internal/postgres"
)

// clusterVariable is the environment variable for the URL of a cluster's coordinator.
const clusterVariable = "TALLY_TEST_CITUS_URL"

// OnCluster reports whether the databases of tests are distributed over a cluster.
func OnCluster() bool { return os.Getenv(clusterVariable) != "" }

// SkipOnCluster skips a test that a cluster cannot pass, with the reason.
func SkipOnCluster(tb testing.TB, reason string) {
	tb.Helper()
	if OnCluster() {
		tb.Skip("on a cluster: " + reason)
	}
}

// distributed is a [Schema] that a cluster can have.
type distributed interface {
	// Distribute distributes the tables of the schema over the cluster.
	Distribute(ctx context.Context, pool *pgxpool.Pool) error
}

// node is a server, with the URL of its first database.
type node struct {
	admin *pgxpool.Pool
	url   *url.URL
}

// openNodes connects to the server of that URL and, if it coordinates a cluster, to the others, which
// are reached like it.
func openNodes(ctx context.Context, base string) (nodes []node, err error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, fmt.Errorf("URL of the test server: %w", err)
	}
	first, err := openNode(ctx, u)
	if err != nil || !OnCluster() {
		return []node{first}, err
	}
	rows, _ := first.admin.Query(ctx, "SELECT nodename, nodeport FROM pg_dist_node WHERE groupid <> 0 ORDER BY nodeid") // ForEachRow returns its error
	nodes = []node{first}
	var host string
	var port int
	_, err = pgx.ForEachRow(rows, []any{&host, &port}, func() error {
		of := *u
		of.Host = net.JoinHostPort(host, strconv.Itoa(port))
		n, err := openNode(ctx, &of)
		nodes = append(nodes, n)
		return err
	})
	return nodes, err
}

func openNode(ctx context.Context, u *url.URL) (n node, err error) {
	n = node{url: u}
	n.admin, err = postgres.Open(ctx, postgres.Config{URL: u.String(), MaxConns: 4, ApplicationName: "tally-testdb"})
	return n, err
}

// join makes a cluster of the databases of that name.
func (s *shared) join(ctx context.Context, name string) error {
	for i, n := range s.nodes {
		sql := "CREATE EXTENSION citus"
		if i == 0 {
			sql += fmt.Sprintf("; SELECT citus_set_coordinator_host('%s', %s)", n.url.Hostname(), n.url.Port())
		}
		if err := n.in(ctx, name, sql); err != nil {
			return err
		}
	}
	for _, n := range s.nodes[1:] {
		if err := s.nodes[0].in(ctx, name, fmt.Sprintf("SELECT citus_add_node('%s', %s)", n.url.Hostname(), n.url.Port())); err != nil {
			return err
		}
	}
	return nil
}

// in executes statements in a database of the node.
func (n node) in(ctx context.Context, database, sql string) error {
	u := *n.url
	u.Path = "/" + database
	conn, err := pgx.Connect(ctx, u.String())
	if err != nil {
		return err
	}
	defer conn.Close(ctx) //nolint:errcheck // its statements have ended
	_, err = conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol)
	return err
}

// close ends the sessions of a database on the node, the cluster's own too, and lets none begin.
func (n node) close(ctx context.Context, database string) error {
	if _, err := n.admin.Exec(ctx, "ALTER DATABASE "+pgx.Identifier{database}.Sanitize()+" ALLOW_CONNECTIONS false"); err != nil {
		return err
	}
	_, err := n.admin.Exec(ctx, "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1", database)
	return err
}

// releaseTemplate closes a template on each node: it could not be cloned otherwise.
func (s *shared) releaseTemplate(ctx context.Context, name string) error {
	for _, n := range s.nodes {
		if err := n.close(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// LoseNode makes a worker of the cluster unavailable to the pool's database, as if it had crashed,
// until it is found again. What it has prepared to commit stays.
func LoseNode(ctx context.Context, pool *pgxpool.Pool) (found func() error, err error) {
	n, database := process.nodes[len(process.nodes)-1], pool.Config().ConnConfig.Database
	if err := n.close(ctx, database); err != nil {
		return nil, fmt.Errorf("lose node %s: %w", n.url.Host, err)
	}
	return func() error {
		_, err := n.admin.Exec(ctx, "ALTER DATABASE "+pgx.Identifier{database}.Sanitize()+" ALLOW_CONNECTIONS true")
		return err
	}, nil
}

// CrashNode kills a session of a worker of the cluster with SIGKILL, so that the node ends all
// others, recovers from its WAL and is there again. No other test may use the cluster meanwhile.
// The error says that the node was not there.
func CrashNode(ctx context.Context) error {
	n := process.nodes[len(process.nodes)-1]
	if err := n.admin.Ping(ctx); err != nil {
		return fmt.Errorf("crash node %s: %w", n.url.Host, err)
	}
	_, err := n.admin.Exec(ctx, "COPY (SELECT 1) TO PROGRAM 'kill -9 $PPID'")
	if pgconn.Timeout(err) || err == nil {
		return fmt.Errorf("crash node %s: it lives: %w", n.url.Host, err)
	}
	return nil
}
